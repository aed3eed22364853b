"""Edits of a copy of the package, committed there: which records are certified, and which are trained again."""

import hashlib
import json

import pytest
from edited_copy import Copy

from mola.experiment import record as records
from mola.files import with_checksum

STEP, ADAPTER, TRIAL = "mola/training/step.py", "mola/layers/adapter.py", "mola/tuning/trial.py"
# kills the process at its n-th record, as it is put in its place
KILLER = """
import os, pathlib, signal
replace, written = pathlib.Path.replace, []
def replaced(self, target):
    if pathlib.Path(target).name == "record.json" and "mola-certify" not in str(target):
        written.append(target)
        if len(written) == int(os.environ["KILL_AT"]):
            os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
pathlib.Path.replace = replaced
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def copy(tmp_path, data_root):
    return Copy(tmp_path, data_root)


def computed(record):
    return (record.weights_sha256, record.test, record.valid, record.selected, record.commit, record.seconds)


@pytest.mark.long
def test_a_renamed_variable_certifies_and_a_constant_trains_again(copy):
    first = copy.git("rev-parse", "HEAD").strip()
    before = {label: copy.records(label) for label in ("shared", "mola_grad")}
    assert "nothing to certify" in copy.mola("reproduce", "--certify")

    copy.edit(STEP, "for name, loss in losses.items()}", "for name, value in losses.items()}")
    copy.edit(STEP, "loss.detach() for", "value.detach() for")
    assert copy.counts() == "6 stale"
    files = {p: p.read_bytes() for p in copy.results.rglob("*") if p.is_file()}
    refused = copy.mola("reproduce", "--certify", code=2)
    assert f"digits/shared: expected its code in a commit, found uncommitted: {STEP}" in refused
    assert {p: p.read_bytes() for p in copy.results.rglob("*") if p.is_file()} == files, "nothing is written"

    second = copy.commit()
    text = copy.mola("reproduce", "--certify")
    assert f"digits/shared: 2 records certified by seed 0 at {second[:7]} (weights " in text
    assert copy.counts() == "6 done"
    for label, old in before.items():
        again, *others = copy.records(label)
        assert (again.commit, again.certified, again.dirty) == (second, None, False)
        assert again.weights_sha256 == old[0].weights_sha256
        for record, trained in zip(others, old[1:], strict=True):
            assert computed(record) == computed(trained) and record.commit == first
            code = trained.fingerprint.code
            assert record.certified.model_dump() == {"seed": 0, "commit": second, "trained_fingerprint": code}
            assert record.fingerprint == again.fingerprint
        assert json.loads((copy.results / label / "inputs.json").read_text())["fingerprint"]["all"] == (
            again.fingerprint.all
        )
        index = copy.results / label / "runs.json"
        checksums = {k: run["sha256"] for k, run in json.loads(index.read_text())["runs"].items()}
        assert checksums == {str(s): hashlib.sha256(copy.path(label, s).read_bytes()).hexdigest() for s in range(3)}
        assert index.stat().st_mtime_ns > (copy.results / label / "inputs.json").stat().st_mtime_ns
    analysis = json.loads((copy.results / "mola_grad/seed0/analysis.json").read_text())
    assert analysis["fingerprint"] == again.fingerprint.all and analysis["gradients"]
    assert with_checksum(analysis) == analysis
    copy.mola("table")
    table = (copy.results.parent / "tables/digits.md").read_text()
    assert f"2 of 3 records certified by seed 0 at {second[:7]}" in table and "left out" not in table

    # the bits of one method change; a record of the other is missing
    copy.edit(ADAPTER, "A.shape[2] ** -0.5", "A.shape[2] ** -0.25")
    copy.edit(STEP, "value", "loss")
    copy.path("shared", 2).unlink()
    third = copy.commit()
    text = copy.mola("reproduce", "--certify", code=1)
    assert f"digits/shared: 1 record certified by seed 0 at {third[:7]}" in text
    assert "digits/shared seed 2: not certified: no record; mola train makes it" in text
    assert "digits/mola_grad: seed 0 gives other bits: test.mnist." in text
    assert "digits/mola_grad: trained again: seeds 0, 1, 2" in text
    assert copy.counts() == "5 done, 1 to do"
    kept = records.read(copy.path("shared", 1))
    assert (kept.certified.commit, kept.certified.trained_fingerprint) == (third, before["shared"][1].fingerprint.code)
    for record, old in zip(copy.records("mola_grad"), before["mola_grad"], strict=True):
        assert record.certified is None and record.commit == third and record.weights_sha256 != old.weights_sha256


@pytest.mark.long
def test_a_kill_while_stamping_leaves_whole_records_and_the_same_command_goes_on(copy, tmp_path):
    old = {label: copy.records(label) for label in ("shared", "mola_grad")}
    copy.edit(STEP, "for name, loss in losses.items()}", "for name, value in losses.items()}")
    copy.edit(STEP, "loss.detach() for", "value.detach() for")
    (tmp_path / "killer").mkdir()
    (tmp_path / "killer/sitecustomize.py").write_text(KILLER)
    copy.commit()
    for at, expected in (("2", "1 done, 5 stale"), ("2", "2 done, 4 stale"), ("1", "2 done, 4 stale")):
        copy.mola("reproduce", "--certify", code=-9, first=str(tmp_path / "killer"), KILL_AT=at)
        assert copy.counts() == expected
        for label, trained in old.items():
            assert [computed(r)[:4] for r in copy.records(label)] == [computed(r)[:4] for r in trained]
    copy.mola("reproduce", "--certify")
    assert copy.counts() == "6 done"
    assert [bool(record.certified) for record in copy.records("shared")] == [False, True, True]
    assert (copy.results / "shared/runs.json").is_file()


@pytest.mark.long
def test_an_edit_of_a_trial_alone_is_certified_where_its_score_is_the_same(tmp_path, data_root):
    """Of a grid, by parts; no record is stale by it."""
    grid = {"grid": {"lr": [0.002, 0.001]}, "seeds": 2}
    copy = Copy(tmp_path, data_root, seeds=1, methods={"single_task": None}, tune=grid, probes={})
    study = copy.results / "single_task/optuna/tuned.json"
    before, record = json.loads(study.read_text()), copy.path("single_task", 0).read_bytes()
    assert len(before["parts"]) == 4
    copy.edit(TRIAL, "for score in scores", "for one in scores")
    copy.edit(TRIAL, "fmean(score.", "fmean(one.")
    copy.commit()
    assert copy.counts() == "1 to tune"
    assert "digits/single_task: its study is certified at " in copy.mola("reproduce", "--certify")
    assert copy.counts() == "1 done"
    after = json.loads(study.read_text())
    assert after["fingerprint"] != before["fingerprint"]
    assert after == with_checksum(before | {"fingerprint": after["fingerprint"]})
    assert copy.path("single_task", 0).read_bytes() == record
    assert "nothing to certify" in copy.mola("reproduce", "--certify")

    copy.edit(TRIAL, "Score(statistics.fmean(one.value for one in scores)", "Score(0.5 * scores[0].value")
    copy.commit()
    files = {p: p.read_bytes() for p in copy.results.rglob("*") if p.is_file()}
    text = copy.mola("reproduce", "--certify", code=1)
    assert "digits/single_task: its study gives another result: score " in text
    assert "digits/single_task: mola tune --restart -b digits -m single_task first" in text
    assert {p: p.read_bytes() for p in copy.results.rglob("*") if p.is_file()} == files, "nothing is written"
    assert copy.counts() == "1 to tune"
