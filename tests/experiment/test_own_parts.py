"""An edit of the user's own code retrains exactly the rows that use it; drafts are shown and say what they are."""

import subprocess

import pytest
import user_folder

from mola import registry
from mola.config import load
from mola.experiment import fingerprint, own_parts, provenance
from mola.experiment.spec import experiments


@pytest.fixture
def folder(tmp_path):
    yield user_folder.fill(tmp_path / "mine")
    registry.look_in(None)


def fingerprints(path):
    fingerprint.forget()
    registry.look_in(None)
    return {experiment.label: experiment.fingerprint["all"] for experiment in experiments(load(path))}


def edit(path):
    path.write_text(path.read_text() + "\nEDIT = 1\n")


@pytest.mark.parametrize(
    ("file", "stale"),
    [
        ("methods/task_bias.py", {"task_bias"}),
        ("methods/_helper.py", {"task_bias"}),
        ("balancers/twice.py", {"twice"}),
        ("my_net.py", set()),
    ],
)
def test_an_edit_retrains_the_rows_that_use_the_file(folder, data_root, file, stale):
    path = user_folder.suite(folder, data_root)
    before = fingerprints(path)
    (folder / file).write_text((folder / file).read_text() + "\n# a comment\n")
    assert fingerprints(path) == before
    edit(folder / file)
    after = fingerprints(path)
    assert {label for label in before if after[label] != before[label]} == stale


@pytest.mark.parametrize("file", ["my_net.py", "layers_of_mine.py"])
def test_an_edit_of_the_backbone_retrains_all(folder, data_root, file):
    path = user_folder.suite(folder, data_root, backbone={"name": "my_net:make_model"})
    before = fingerprints(path)
    edit(folder / file)
    assert all(after != before[label] for label, after in fingerprints(path).items())


def test_rows_of_the_package_are_what_they_are_elsewhere(folder, data_root, suite_file):
    mine = fingerprints(user_folder.suite(folder, data_root))
    shared = {"where": r"layer[1-4]\..*conv\d", "rank": 2}
    training = {"epochs": 1, "batch_size": 16, "lr": 0.002}
    elsewhere = fingerprints(suite_file(training=training, shared_options=shared, methods={"shared": None}))
    assert mine["shared"] == elsewhere["shared"]


def test_what_is_the_users_own_is_known(folder, data_root):
    suite = load(user_folder.suite(folder, data_root))
    assert own_parts.of_user(suite) == [("methods", "task_bias"), ("balancers", "twice")]
    assert own_parts.lie_nearby(suite)
    built_in = load(user_folder.suite(folder, data_root, methods={"shared": None}))
    assert own_parts.of_user(built_in) == [] and not own_parts.lie_nearby(built_in)
    net = load(user_folder.suite(folder, data_root, methods={"shared": None}, backbone={"name": "my_net:make_model"}))
    assert own_parts.of_user(net) == [] and own_parts.lie_nearby(net)


def test_files_that_no_repository_has_are_named_until_they_are_committed(folder, data_root, monkeypatch):
    monkeypatch.setattr(provenance, "changed", frozenset)
    by_label = {experiment.label: experiment for experiment in experiments(load(user_folder.suite(folder, data_root)))}
    assert provenance.uncommitted(by_label["shared"]) is None
    assert provenance.uncommitted(by_label["task_bias"]) == "methods/_helper.py, methods/task_bias.py"
    assert provenance.only_of_user(by_label["task_bias"]) and not provenance.only_of_user(by_label["shared"])

    def git(*words):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *identity, "-C", str(folder), *words], check=True, capture_output=True)

    git("init", "-q")
    git("add", "methods")
    git("commit", "-qm", "mine")
    provenance.is_committed.cache_clear()
    assert provenance.uncommitted(by_label["task_bias"]) is None
    edit(folder / "methods/_helper.py")
    provenance.is_committed.cache_clear()
    assert provenance.uncommitted(by_label["task_bias"]) == "methods/_helper.py"
    monkeypatch.setattr(provenance, "changed", lambda: frozenset({"mola/training/fit.py"}))
    assert not provenance.only_of_user(by_label["task_bias"]), "an edit of the package is no draft of the user's"
