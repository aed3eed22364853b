"""`mola new` writes what trains at once; `mola check` says what is wrong with parts of the user's own."""

import json
import os
import re
import subprocess
import sys

import commands
import pytest
import user_folder
import yaml
from blocks import ROOT, Block

from mola.cli.new import SKELETONS


def mola(*words, cwd):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mola.cli", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module")
def working_folder(tmp_path_factory, data_root):
    """A folder with a skeleton of each kind, and a suite of them, whose data are prepared."""
    folder = tmp_path_factory.mktemp("new")
    for words in (("method", "colour_gate"), ("balancer", "larger_first"), ("benchmark", "stripes"), ("suite", "mine")):
        done = mola("new", *words, cwd=folder)
        assert done.returncode == 0, done.stderr
    (folder / "data").mkdir()
    (folder / "data/digits").symlink_to(data_root / "digits")
    done = mola("prepare", "-c", "mine.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "stripes: its split is written to" in done.stdout and (folder / "benchmarks/stripes.json").is_file()
    return folder


def test_skeletons_are_short_and_name_themselves(working_folder):
    text = (working_folder / "methods/colour_gate.py").read_text()
    assert len(text.splitlines()) < 30 and "class ColourGate(AdaptedMethod):" in text
    every = (
        "".join(path.read_text() for path in working_folder.glob("*/*.py")) + (working_folder / "mine.yaml").read_text()
    )
    assert "NAME" not in every and "CLASS(" not in every and "METHODS" not in every
    assert {path.name for path in SKELETONS.glob("*.txt")} == {
        "method.py.txt", "balancer.py.txt", "benchmark.py.txt", "suite.yaml.txt", "own_images.yaml.txt",
        "own_labels.yaml.txt",
    }  # fmt: skip
    suite = yaml.safe_load((working_folder / "mine.yaml").read_text())
    assert suite["methods"]["shared_larger_first"] == {"method": "shared", "balancer": "larger_first"}
    assert [*suite["benchmarks"]] == ["digits", "stripes"] and "colour_gate" in suite["methods"]


def test_a_new_suite_names_the_next_steps_in_order(working_folder, tmp_path):
    """The parsers of the commands read them; where there are parts of the user's own, they are checked first."""
    for folder, expected in (
        (working_folder, ["prepare", "check", "estimate", "snakemake", "report"]),
        (tmp_path, ["prepare", "estimate", "snakemake", "report"]),
    ):
        done = mola("new", "suite", "another", cwd=folder)
        assert done.returncode == 0, done.stderr
        steps = [line for line in done.stdout.splitlines() if line.startswith("  ")]
        assert [re.sub("^mola ", "", step.strip()).split()[0] for step in steps] == expected
        for words in (word for step in steps for word in commands.commands(Block("", 0, "sh", step))):
            assert [*commands.problems(words, {"another.yaml", str(ROOT / "Snakefile")})] == []
    (working_folder / "another.yaml").unlink()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("method", "colour_gate"), "methods/colour_gate.py: expected a new file, found one; it is left as it is"),
        (("suite", "mine"), "mine.yaml: expected a new file, found one; it is left as it is"),
        (("method", "shared"), "NAME: expected a new name, found shared, which is built in"),
        (("balancer", "My-Balancer"), "NAME: expected a letter, then letters, digits and _, all in lower case, found"),
        (("suite", "../up"), "name: expected a name that can be a folder"),
    ],
)
def test_no_file_is_written_over_and_names_can_be_modules(working_folder, words, message):
    before = {path: path.read_bytes() for path in working_folder.rglob("*.[py][ya]*") if path.is_file()}
    done = mola("new", *words, cwd=working_folder)
    assert done.returncode == 2 and done.stderr.startswith(f"mola: {message}"), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert all(path.read_bytes() == content for path, content in before.items())


def test_list_shows_where_each_part_is_from(working_folder):
    done = mola("list", "-c", "mine.yaml", cwd=working_folder)
    assert done.returncode == 0 and "from methods/colour_gate.py" in done.stdout and "built in" in done.stdout
    assert "options: norm, rank, alpha, where, factorisation, freeze, sharpness" in done.stdout
    assert "colour_gate" not in mola("list", cwd=working_folder).stdout


@pytest.mark.slow
def test_skeletons_pass_the_check_and_train_at_once(working_folder):
    done = mola("check", "mine.yaml", cwd=working_folder)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = ["benchmark stripes: fine", "balancer larger_first: fine", "method colour_gate: fine"]
    assert done.stdout.splitlines() == lines
    done = mola("train", "-c", "mine.yaml", "-s", "0", cwd=working_folder)
    assert done.returncode == 0, done.stderr
    for benchmark in ("digits", "stripes"):
        for row in ("shared", "mola_grad", "colour_gate", "shared_larger_first"):
            record = json.loads((working_folder / f"results/mine/{benchmark}/{row}/seed0/record.json").read_text())
            assert record["status"] == "done"
    assert "8 done, 8 to do" in mola("status", "-c", "mine.yaml", cwd=working_folder).stdout
    edited = working_folder / "benchmarks/stripes.py"
    edited.write_text(edited.read_text().replace("random.integers(-60, 61", "random.integers(-50, 51"))
    done = mola("check", "mine.yaml", cwd=working_folder)
    assert done.returncode == 2
    assert "benchmark stripes: build: expected the arrays that the split manifest fixes, found others" in done.stderr


BROKEN = """from mola.methods.shared import Shared

class Oops(Shared):
    def forward(self, batch):
        if {when}:
            raise RuntimeError("two\\nlines")
        return super().forward(batch)
"""


@pytest.mark.slow
def test_a_method_that_raises_is_one_line_of_check_and_of_train(tmp_path, data_root):
    folder = user_folder.fill(tmp_path / "mine", methods__oops=BROKEN.format(when="True"))
    user_folder.suite(folder, data_root, methods={"oops": None})
    for words in (("train", "-c", "my.yaml"), ("check", "my.yaml")):
        done = mola(*words, cwd=folder)
        line = done.stderr.splitlines()[-1]
        assert done.returncode == 2 and line.endswith("methods/oops.py:6: RuntimeError: two"), done.stderr
        assert "Traceback" not in done.stderr
    assert not (folder / "results").exists()
    user_folder.fill(folder, methods__oops=BROKEN.format(when="self.training"))
    done = mola("train", "-c", "my.yaml", cwd=folder)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    record = json.loads((folder / "results/mine/digits/oops/seed0/record.json").read_text())
    assert record["reason"] == "PluginError: methods/oops.py:6: RuntimeError: two"


@pytest.mark.slow
def test_a_suite_without_parts_of_its_own_says_what_is_checked(tmp_path, data_root):
    folder = user_folder.fill(tmp_path / "mine")
    user_folder.suite(folder, data_root, methods={"shared": None})
    done = mola("check", "my.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first == "the suite names no part of your own; looking at those that lie in its folder"
    assert rest == ["balancer twice: fine", "method task_bias: fine"]
    for name in ("methods", "balancers"):
        (folder / name).rename(folder / f"no_{name}")
    done = mola("check", "my.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first == "the suite names no part of your own; looking at all parts that it names"
    assert rest == ["benchmark digits: fine", "balancer sum: fine", "method shared: fine"]


@pytest.mark.slow
def test_a_backbone_of_the_users_own_is_checked_and_trained(tmp_path, data_root):
    folder = user_folder.fill(tmp_path / "mine")
    methods = {"shared": None, "single_task": None, "task_bias": {"where": "layer2", "norm": "task"}}
    user_folder.suite(
        folder, data_root, backbone={"name": "my_net:make_model", "options": {"width": 4}}, methods=methods
    )
    done = mola("check", "my.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["backbone my_net:make_model: fine", "method task_bias: fine"]
    done = mola("train", "-c", "my.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "3 done" in mola("status", "-c", "my.yaml", cwd=folder).stdout


@pytest.mark.slow
def test_tuning_tries_the_options_of_a_method_of_the_users_own(tmp_path, data_root):
    folder = user_folder.fill(tmp_path / "mine")
    user_folder.suite(folder, data_root, methods={"task_bias": None}, tune={"trials": 2})
    done = mola("tune", "-c", "my.yaml", cwd=folder)
    assert done.returncode == 0 and "scale" in done.stdout, done.stdout + done.stderr
    assert mola("train", "-c", "my.yaml", cwd=folder).returncode == 0
    assert "1 done" in mola("status", "-c", "my.yaml", cwd=folder).stdout
