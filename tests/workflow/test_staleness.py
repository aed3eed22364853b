"""What an edit retrains, asked of Snakemake itself. The whole table of edits: tests/experiment/test_fingerprint.py."""

import re
import shutil
import subprocess
import sys

import pytest
from running import PAGES, environment, planned, snakemake, write_suite

BENCHMARKS = {"digits": {"limit": 16}, "fewer": {"benchmark": "digits", "limit": 12}}
METHODS = {"shared": None, "mola_grad": {"rank": 2, "where": r"layer[1-4]\..*conv\d"}}


@pytest.fixture(scope="module")
def trained(module_repository):
    """The copy of the repository with a finished suite of two methods on two benchmarks."""
    write_suite(module_repository, benchmarks=BENCHMARKS, methods=METHODS)
    snakemake(module_repository)
    return module_repository


def replaced(old, new):
    def edit(text):
        assert text.count(old) == 1, old
        return text.replace(old, new)

    return edit


def added(line):
    return lambda text: f"{text}\n{line}\n"


# file, edit, and how many methods it retrains
EDITS = [
    ("a comment and a blank line", "mola/training/fit.py", added("\n# why"), 0),
    ("parentheses around a value", "mola/training/step.py", replaced(": output.aux_loss}", ": (output.aux_loss)}"), 0),
    ("the text of a log line", "mola/training/checkpoint.py", replaced('"resumed %s', '"goes on %s'), 0),
    ("a description", "mola/methods/_adapted.py", replaced("α; updates are scaled by α / r", "the usual α"), 0),
    ("configuration", "mola/config.py", added("UNUSED = 1"), 0),
    ("planning", "mola/experiment/fingerprint.py", added("UNUSED = 1"), 0),
    ("a probe that is off", "mola/training/probes/routing.py", added("UNUSED = 1"), 0),
    ("a layer", "mola/layers/plans/weighted.py", added("UNUSED = 1"), 1),
    ("a parent of a method", "mola/methods/_adapted.py", added("UNUSED = 1"), 1),
    ("the training step", "mola/training/step.py", added("UNUSED = 1"), 2),
    ("what runs when the package is imported", "mola/__init__.py", added("import os\n\nos.environ['A'] = 'b'"), 2),
]


@pytest.mark.slow
def test_edits_retrain_what_executes_them_and_nothing_else(trained):
    assert planned(trained) == {}, "everything is done"
    for name, file, edit, expected in EDITS:
        path = trained / file
        before = path.read_text()
        path.write_text(edit(before))
        assert planned(trained).get("train", 0) == expected * len(BENCHMARKS), name
        path.write_text(before)
    assert planned(trained).get("train", 0) == 0, "the code is as it was"


@pytest.mark.slow
def test_a_method_that_is_added_is_one_job_of_each_benchmark(trained):
    path = trained / "mola/methods/another.py"
    path.write_text("from mola.methods.shared import Shared\n\n\nclass Another(Shared):\n    name = 'another'\n")
    write_suite(trained, benchmarks=BENCHMARKS, methods=METHODS | {"another": None, "mine": {"method": "another"}})
    try:
        assert planned(trained) == {"train": 2 * len(BENCHMARKS), **PAGES, "all": 1}
    finally:
        path.unlink()
        write_suite(trained, benchmarks=BENCHMARKS, methods=METHODS)


@pytest.mark.slow
def test_in_a_clone_without_data_too_an_edit_of_a_method_retrains_that_method_alone(trained, tmp_path):
    unsaved = shutil.ignore_patterns(".snakemake", "logs", "*.prepared", "*.fetched", "*.npy", "*.lock")
    clone = shutil.copytree(trained, tmp_path / "clone", ignore=unsaved)
    for path in sorted(path for path in clone.rglob("*") if path.is_file()):
        # as git writes them
        path.touch()
    method = clone / "mola/methods/mola_grad.py"
    method.write_text(method.read_text() + "\nUNUSED = 1\n")
    jobs = planned(clone)
    assert jobs["train"] == len(BENCHMARKS)
    assert set(jobs) == {"fetch", "prepare", "train", *PAGES, "all"}


@pytest.mark.slow
def test_called_from_elsewhere_the_workflow_depends_on_the_same(trained, tmp_path):
    def trained_again(folder, *words):
        command = [sys.executable, "-m", "snakemake", *words, "-n", "--cores", "1", "all"]
        command += ["--configfile", str(trained / "tiny.yaml")]
        done = subprocess.run(
            command, cwd=folder, env=environment(trained), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        # a dry run says it twice
        said = re.search(r"^train +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
        return int(said[1]) if said else 0

    there = ("-s", str(trained / "Snakefile"), "--directory", str(trained))
    assert trained_again(tmp_path, *there) == 0
    method = trained / "mola/methods/mola_grad.py"
    before = method.read_text()
    method.write_text(before + "\nUNUSED = 1\n")
    try:
        assert trained_again(tmp_path, *there) == len(BENCHMARKS)
    finally:
        method.write_text(before)
    assert trained_again(tmp_path, *there[:2]) == len(BENCHMARKS) * len(METHODS), "nothing was trained in that folder"
