"""Rows of several codes, runs that fail, records and commits that change meanwhile."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from mola.config import load
from mola.experiment import certify, row, run, spec
from mola.experiment import record as records
from mola.files import with_checksum
from mola.reporting.results.analysis import probed
from mola.types import BadInput


@pytest.fixture
def experiment(suite_file, monkeypatch):
    """Three trained seeds, whose records are of other code: those of 0 and 1 of one, that of 2 of another."""
    torch.set_num_threads(1)
    monkeypatch.setattr(certify, "uncommitted", lambda *_: None)
    experiment = spec.experiment(
        load(suite_file(seeds=3, training={"epochs": 1, "batch_size": 16})), "digits", "shared"
    )
    assert row.train_seeds(experiment, experiment.suite.seeds) == []
    for seed, code in enumerate("aab"):
        fingerprint = record(experiment, seed).fingerprint.model_copy(update={"code": code, "all": code})
        change(experiment, seed, fingerprint=fingerprint)
    return experiment


def record(experiment, seed):
    return records.read(experiment.run_folder(seed) / "record.json")


def change(experiment, seed, **changes):
    changed = record(experiment, seed).model_copy(update=changes)
    records.write(experiment.run_folder(seed) / "record.json", changed)


def certified(experiment):
    lines = list(certify.certify([experiment], None))
    return "\n".join(line for line, _ in lines), all(fine for _, fine in lines)


def rerun_then(monkeypatch, action):
    """Something else happens once a seed is trained again; ``action`` may return another record of it."""
    rerun = certify.rerun

    def instead(experiment, seed, scratch):
        again = rerun(experiment, seed, scratch)
        return action(again) or again

    monkeypatch.setattr(certify, "rerun", instead)


def test_what_is_counted_and_not_trained_is_that_of_todays_code(experiment):
    """A code that counted operations otherwise gave the same bits."""
    real = [record(experiment, seed) for seed in range(3)]
    for seed in (0, 1):
        change(experiment, seed, flops_per_sample=real[seed].flops_per_sample - 7 * (seed + 1))
    _, fine = certified(experiment)
    new = [record(experiment, seed) for seed in range(3)]
    assert fine and new[1].certified.seed == 0
    for before, after in zip(real, new, strict=True):
        assert (after.flops_per_sample, after.parameters) == (before.flops_per_sample, before.parameters)


@pytest.mark.parametrize("damage", ["edit", "cut", "list", "bytes", "copy"])
def test_an_analysis_that_was_changed_is_not_signed_anew(experiment, damage):
    """The record counts for the code of today; what figures leave out stays left out."""
    paths = [experiment.run_folder(seed) / "analysis.json" for seed in (0, 1)]
    for seed, path in enumerate(paths):
        run.write_analysis(path.parent, record(experiment, seed), {"routing": {"sizes": {"layer1": [1, 2]}}})
    assert probed(paths[1])
    content = paths[1].read_bytes()
    damaged = {
        "edit": content.replace(b"[1, 2]", b"[1, 3]"),
        "cut": content[:-20],
        "list": b"[1]",
        "bytes": b"\xff\xfe",
        "copy": json.dumps(with_checksum(json.loads(content) | {"fingerprint": "of another run"})).encode(),
    }[damage]
    paths[1].write_bytes(damaged)
    text, _ = certified(experiment)
    assert "digits/shared: 1 record certified by seed 0" in text and record(experiment, 1).certified
    assert paths[1].read_bytes() == damaged
    assert probed(paths[1]).get("fingerprint") != record(experiment, 1).fingerprint.all


def test_an_analysis_that_cannot_be_read_now_is_not_lost(experiment, monkeypatch):
    """The record keeps its old fingerprint, so that the next call signs both."""
    path = experiment.run_folder(1) / "analysis.json"
    for seed in (0, 1):
        run.write_analysis(
            experiment.run_folder(seed), record(experiment, seed), {"routing": {"sizes": {"layer1": [1, 2]}}}
        )
    real = Path.read_bytes

    def read(self):
        if self == path:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self))
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", read)
        with pytest.raises(BadInput, match=os.strerror(errno.EIO)):
            certified(experiment)
    assert not record(experiment, 1).certified
    certified(experiment)
    assert record(experiment, 1).certified
    assert probed(path)["fingerprint"] == record(experiment, 1).fingerprint.all


def test_one_seed_is_trained_of_every_code_and_the_seeds_of_one_that_differs(experiment):
    old = [record(experiment, seed) for seed in range(3)]
    # what the code "b" gave; the first seed says nothing of it
    change(experiment, 2, weights_sha256="0" * 64)
    text, fine = certified(experiment)
    assert fine and "digits/shared: 1 record certified by seed 0 at " in text
    assert "digits/shared: seed 2 gives other bits: weights 00000000…" in text
    assert "digits/shared: trained again: seeds 2" in text
    new = [record(experiment, seed) for seed in range(3)]
    assert [bool(one.certified) for one in new] == [False, True, False]
    assert (new[1].time, new[1].certified.trained_fingerprint) == (old[1].time, "a")
    assert [one.weights_sha256 for one in new] == [one.weights_sha256 for one in old]
    assert all(run.finished(experiment, seed) for seed in range(3)) and (experiment.folder / "runs.json").is_file()


def test_a_run_that_fails_once_more_changes_nothing_of_its_code(experiment, monkeypatch):
    def fail(again):
        return again.model_copy(update={"status": "failed", "reason": "no memory"}) if again.seed == 0 else None

    old = [record(experiment, seed) for seed in range(2)]
    rerun_then(monkeypatch, fail)
    text, fine = certified(experiment)
    assert not fine and "digits/shared: seed 0 failed: no memory" in text
    assert [record(experiment, seed) for seed in range(2)] == old
    assert run.finished(experiment, 2), "the other code's"


@pytest.mark.parametrize("seed", [0, 1])
def test_a_record_that_is_new_by_now_is_left_alone(experiment, monkeypatch, seed):
    """``mola train`` made it while a seed was trained here."""
    current = records.Fingerprint(**experiment.fingerprint)
    rerun_then(monkeypatch, lambda _: change(experiment, seed, fingerprint=current, time="now"))
    text, fine = certified(experiment)
    assert fine and f"digits/shared seed {seed}: left alone: its record is another one by now" in text
    assert (record(experiment, seed).time, record(experiment, seed).certified) == ("now", None)
    assert all(run.finished(experiment, k) for k in range(3))


def test_another_commit_meanwhile_certifies_nothing_of_the_row(experiment, monkeypatch):
    old = [record(experiment, seed) for seed in range(3)]
    monkeypatch.setattr(certify, "git", lambda *_: b"0123456789\n")
    with pytest.raises(BadInput, match=r"expected commit .{7} to stay checked out, found 0123456"):
        certified(experiment)
    assert [record(experiment, seed) for seed in range(3)] == old


def test_records_that_are_left_over_are_said_and_fail_the_command(experiment):
    (experiment.run_folder(1) / "record.json").unlink()
    text, fine = certified(experiment)
    assert not fine and "digits/shared seed 1: not certified: no record; mola train makes it" in text
    assert run.finished(experiment, 0) and run.finished(experiment, 2)
