"""What an edit retrains, asked of Snakemake itself. The whole table of edits: tests/experiment/test_fingerprint.py."""

import pytest
from running import planned, snakemake, write_suite

METHODS = {"shared": None, "mola_grad": {"rank": 2, "where": r"layer[1-4]\..*conv\d"}}


@pytest.fixture(scope="module")
def trained(module_repository):
    """The copy of the repository with a finished suite of two methods."""
    write_suite(module_repository, methods=METHODS)
    snakemake(module_repository)
    return module_repository


def replaced(old, new):
    def edit(text):
        assert text.count(old) == 1, old
        return text.replace(old, new)

    return edit


def added(line):
    return lambda text: f"{text}\n{line}\n"


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
        assert planned(trained).get("train", 0) == expected, name
        path.write_text(before)
    assert planned(trained).get("train", 0) == 0, "the code is as it was"
