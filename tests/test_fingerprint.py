import shutil
from pathlib import Path

import pytest

from mola.experiment import fingerprint as fp

TRAIN = ["mola.experiment.run", "mola.benchmarks.digits", "mola.methods.mola_grad", "mola.balancers.sum"]


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    """A copy of the package whose files may be edited."""
    shutil.copytree(fp.ROOT / "mola", tmp_path / "mola")
    monkeypatch.setattr(fp, "ROOT", tmp_path)
    _forget()
    yield tmp_path / "mola"
    _forget()


def _forget():
    fp._imports.cache_clear()
    fp._meaning.cache_clear()


def _hash(modules=TRAIN) -> str:
    _forget()
    return fp.fingerprint({}, modules, "")["code"]


def _edit(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def test_closure_follows_imports_but_not_the_registry():
    found = fp.closure(TRAIN)
    assert {
        "mola.training.fit",
        "mola.layers.adapt",
        "mola.layers.plans.dispatch",
        "mola.losses",
        "mola.methods",
    } <= found
    assert not any(name.startswith(("mola.reporting", "mola.cli")) for name in found)
    assert "mola.methods.mola_router" not in found
    assert "mola.methods.shared" in fp.closure(["mola.methods.single_task"])


@pytest.mark.parametrize("file", ["training/fit.py", "methods/mola_grad.py", "layers/plans.py", "benchmarks/digits.py"])
def test_an_edit_of_what_training_runs_counts(tree, file):
    before = _hash()
    _edit(tree / file, "\nEDIT = 1\n")
    assert _hash() != before


@pytest.mark.parametrize(
    "file", ["reporting/tables.py", "methods/mola_router.py", "cli.py", "status.py", "tuning/spend.py"]
)
def test_an_edit_of_anything_else_does_not(tree, file):
    before = _hash()
    _edit(tree / file, "\nEDIT = 1\n")
    assert _hash() == before


def test_comments_docstrings_and_blank_lines_do_not_count(tree):
    before = _hash()
    path = tree / "training/fit.py"
    path.write_text(
        path.read_text()
        .replace('"""The training loop.', '"""Loops.')
        .replace("    per_epoch =", "\n    # why\n    per_epoch =")
    )
    assert "# why" in path.read_text()
    assert _hash() == before


def test_settings_and_manifest_count():
    one = fp.fingerprint({"a": 1}, [], "m")
    assert one["all"] != fp.fingerprint({"a": 2}, [], "m")["all"]
    assert one["all"] != fp.fingerprint({"a": 1}, [], "n")["all"]
    assert one == fp.fingerprint({"a": 1}, [], "m")
