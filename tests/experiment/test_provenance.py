"""Which files make a record one of uncommitted code: those that its run executes, and no others."""

import subprocess

import pytest

from mola.config import load
from mola.experiment import provenance, spec


@pytest.fixture
def changed(monkeypatch):
    """Pretend that git calls these files edited or new."""

    def pretend(*paths):
        monkeypatch.setattr(provenance, "changed", lambda: frozenset(paths))

    return pretend


@pytest.fixture
def experiment(suite_file):
    return spec.experiment(load(suite_file()), "digits", "shared")


@pytest.mark.parametrize(
    "path", ["notes.txt", "scratch.py", "README.md", "results/x.json", "mola/methods/mola_grad.py", "mola/cli/data.py"]
)
def test_files_that_the_run_does_not_execute_are_of_no_account(changed, experiment, path):
    changed(path)
    assert provenance.uncommitted(experiment) is None


def test_files_that_it_executes_are_named(changed, experiment):
    changed("notes.txt", "mola/training/fit.py", "data/splits/digits.json", "mola/methods/shared.py")
    expected = "data/splits/digits.json, mola/methods/shared.py, mola/training/fit.py"
    assert provenance.uncommitted(experiment) == expected


def test_the_weights_of_the_package_count_where_the_run_starts_from_them(changed, experiment, suite_file):
    changed("mola/models/tiny.safetensors", "weights.pth")
    assert provenance.uncommitted(experiment) is None
    tiny = load(suite_file(backbone={"name": "resnet10t", "weights": "tiny"}))
    assert provenance.uncommitted(spec.experiment(tiny, "digits", "shared")) == "mola/models/tiny.safetensors"


def test_git_is_asked_once_and_its_absence_is_said(tmp_path, monkeypatch, experiment):
    assert provenance.git("rev-parse", "HEAD", folder=tmp_path) is None
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert provenance.git("rev-parse", "--is-inside-work-tree", folder=tmp_path) == b"true\n"
    monkeypatch.setattr(provenance, "changed", lambda: None)
    assert provenance.uncommitted(experiment) == "no git here to tell which"
