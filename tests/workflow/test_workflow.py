"""Snakemake for real, in a copy of the repository: what runs, and what does not run again."""

import re
import shutil
import subprocess
import sys

import pytest
import yaml
from running import PAGES, ROOT, TINY, code_of, environment, planned, snakemake, write_suite


def test_preparing_has_the_machine_to_itself(tmp_path):
    """Decoders take all cores: two preparations, or one beside a training, would only wait for each other."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path)]
    (tmp_path / "tiny.yaml").write_text(
        yaml.safe_dump({**TINY, "methods": {"shared": None}, "data": str(tmp_path), "results": str(tmp_path)})
    )
    done = subprocess.run(
        [*command, "-n", "--cores", "3", "all", "--configfile", str(tmp_path / "tiny.yaml")],
        cwd=ROOT, env=environment(ROOT), capture_output=True, text=True, check=False,
    )  # fmt: skip
    jobs = dict(re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", done.stdout + done.stderr, re.MULTILINE))
    assert {name: "threads: 3" in jobs[name] for name in ("fetch", "prepare", "train")} == {
        "fetch": False, "prepare": True, "train": False,
    }, done.stdout + done.stderr  # fmt: skip


def conformance(repository, file, name):
    """The tests that a new file meets on arrival."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file, "-k", name]
    done = subprocess.run(
        command, cwd=repository, env=environment(repository), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout


@pytest.mark.long
def test_the_documented_method_runs_through_and_only_edits_that_matter_run_again(repository):
    (repository / "mola/methods/task_bias.py").write_text(code_of("add-a-method.md", "python"))
    write_suite(repository, **yaml.safe_load(code_of("add-a-method.md", "yaml")))
    _, output = snakemake(repository)
    assert "profile profiles/default" in output, "the profile must be loaded, or a kill would need --rerun-incomplete"
    table = (repository / "results/tiny/tables/digits.md").read_text()
    assert "| task_bias (draft) |" in table and "| shared (draft) |" in table

    assert planned(repository) == {}, "everything is done"

    other = yaml.safe_load(code_of("add-a-method.md", "yaml")) | {"benchmarks": {"digits": {"limit": 12}}}
    write_suite(repository, **other)
    assert planned(repository) == {"fetch": 1, "prepare": 1, "train": 2, **PAGES, "all": 1}, "other data: made anew"
    write_suite(repository, **yaml.safe_load(code_of("add-a-method.md", "yaml")))

    tables = repository / "mola/reporting/tables/assemble.py"
    tables.write_text(tables.read_text() + "\n# an edit of the tables\n")
    assert planned(repository) == {**PAGES, "all": 1}
    snakemake(repository)

    bias = repository / "mola/methods/task_bias.py"
    bias.write_text(bias.read_text().replace("self.scale * bias", "2 * self.scale * bias"))
    assert planned(repository) == {"train": 1, **PAGES, "all": 1}, "a method's code retrains that method alone"
    snakemake(repository)

    fit = repository / "mola/training/fit.py"
    fit.write_text(fit.read_text() + "\nEDIT = 1\n")
    assert planned(repository) == {"train": 2, **PAGES, "all": 1}, "the trainer's code retrains everything"
    fit.write_text(fit.read_text().removesuffix("\nEDIT = 1\n"))

    conformance(repository, "tests/methods/test_every_method.py", "task_bias")


@pytest.mark.slow
def test_a_clone_with_committed_results_trains_nothing(repository, tmp_path):
    write_suite(repository, methods={"shared": None})
    snakemake(repository)
    clone = tmp_path / "clone"
    shutil.copytree(repository, clone, ignore=shutil.ignore_patterns(".snakemake", "logs", "*.prepared", "*.fetched"))
    for path in sorted(p for p in clone.rglob("*") if p.is_file()):
        path.touch()  # as git writes them: new, one after the other, in the order of their names
    assert "train" not in planned(clone)


@pytest.mark.slow
def test_the_documented_benchmark_runs_through(repository):
    (repository / "mola/benchmarks/turned.py").write_text(code_of("add-a-benchmark.md", "python"))
    environment_ = environment(repository)
    subprocess.run([sys.executable, "-m", "mola.benchmarks.turned"], cwd=repository, env=environment_, check=True)
    benchmarks = yaml.safe_load(code_of("add-a-benchmark.md", "yaml"))["benchmarks"]
    benchmarks["turned"] |= {"limit": 40, "training": {"epochs": 1}}
    write_suite(repository, suite="turned", benchmarks=benchmarks, methods={"shared": None, "single_task": None})
    snakemake(repository)
    assert "| single_task (draft) |" in (repository / "results/turned/tables/turned.md").read_text()
    conformance(repository, "tests/benchmarks/test_every_benchmark.py", "turned")


@pytest.mark.slow
def test_a_failed_run_shows_in_the_table_and_stops_nothing(repository):
    wild = {"method": "shared", "training": {"lr": 1.0e30, "optimizer": "sgd"}}
    write_suite(repository, suite="wild", methods={"shared": None, "wild": wild})
    code, output = snakemake(repository, check=False)
    assert code == 1 and "mola: failed: digits/wild, seed 0: training diverged in epoch 1, step" in output, output
    assert "again: mola train -c results/wild/config.yaml -b digits -m wild -s 0" in output, output
    table = (repository / "results/wild/tables/digits.md").read_text()
    assert "| wild † |" in table and "wild, seeds 0: failed: training diverged in epoch 1, step" in table
    assert (
        "; again: mola train -c results/wild/config.yaml -b digits -m wild -s 0" in table
        and "| shared (draft) |" in table
    )
    assert planned(repository)["train"] == 1, "it is tried again"


def test_bad_configuration_is_one_line_and_writes_nothing(repository):
    write_suite(repository, suite="bad", methods={"mola_gard": None})
    code, output = snakemake(repository, check=False)
    lines = [line for line in output.splitlines() if line.startswith("mola: ")]
    assert code != 0
    assert len(lines) == 1 and "unknown method 'mola_gard', did you mean 'mola_grad'?" in lines[0]
    assert "Traceback" not in output
    assert not (repository / "results/bad").exists()


def test_entries_of_one_benchmark_share_its_preparation(repository):
    """Their labels are the folders; the data are prepared once, where nothing but the number of images differs."""
    training = {"digits_8": 8, "digits_12": 12, "digits_16": 16}
    entries = {label: {"benchmark": "digits", "limit": 16, "train": n} for label, n in training.items()}
    write_suite(repository, suite="labels", benchmarks=entries, reference="shared", methods={"shared": None})
    assert planned(repository) == {"fetch": 1, "prepare": 1, "train": 3, **PAGES, "all": 1}
    write_suite(repository, suite="labels", benchmarks=entries | {"digits": {"limit": 12}}, methods={"shared": None})
    assert planned(repository) == {"fetch": 2, "prepare": 2, "train": 4, **PAGES, "all": 1}, (
        "another limit: another stamp"
    )


@pytest.mark.long
def test_a_suite_of_labels_runs_through(repository):
    entries = {f"digits_{n}": {"benchmark": "digits", "limit": 16, "train": n} for n in (8, 12, 16)}
    methods = {"shared": None, "single_task": None}
    write_suite(repository, suite="labels", benchmarks=entries, reference="shared", methods=methods)
    snakemake(repository)
    results = repository / "results/labels"
    assert "| single_task (draft) |" in (results / "tables/digits_12.md").read_text()
    assert "digits,all rows,8,digits_8,single_task,shared," in (results / "figures/summary.amounts.csv").read_text()
    assert planned(repository) == {}, "everything is done"


def test_a_row_that_stands_twice_is_refused(repository):
    """Snakemake's own reader would keep the last one."""
    path = write_suite(repository, suite="twice", methods={"shared": None})
    path.write_text(path.read_text() + "  shared: {group: another}\n")
    code, output = snakemake(repository, "-n", check=False)
    assert code != 0 and re.search(
        r"^mola: configuration file '.*tiny\.yaml', line \d+: key 'shared' stands twice$", output, re.MULTILINE
    )
    assert not (repository / "results/twice").exists()
