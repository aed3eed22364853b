"""``log``: what follows a run, which stays as it is."""

import csv

import pytest
import torch

from mola.config import load
from mola.experiment import loggers
from mola.experiment import run as runs
from mola.experiment.rerun import differences
from mola.experiment.spec import experiment
from mola.types import BadInput


def trained(path):
    torch.set_num_threads(1)
    one = experiment(load(path), "digits", "shared")
    return one, runs.train(one, 0)


def test_loggers_tell_the_curve_and_change_nothing(suite_file, tmp_path):
    one, record = trained(suite_file(results=str(tmp_path / "silent")))
    other, logged = trained(suite_file(log=["csv"]))
    assert one.fingerprint == other.fingerprint and differences(record, logged) == []
    rows = list(csv.DictReader((other.run_folder(0) / "curve.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == [1, 2]
    for row, epoch in zip(rows, logged.curve, strict=True):
        assert float(row["valid/printed/accuracy"]) == epoch.valid["printed"]["accuracy"]
        assert float(row["train/mnist"]) == epoch.train["mnist"] and float(row["lr"]) == epoch.lr


def test_tensorboard_and_dvclive_are_told_by_their_libraries(suite_file):
    pytest.importorskip("tensorboard")
    pytest.importorskip("dvclive")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    one, record = trained(suite_file(log=["tensorboard", "dvclive"]))
    events = EventAccumulator(str(one.run_folder(0) / "tensorboard")).Reload()
    expected = [epoch.valid["mnist"]["accuracy"] for epoch in record.curve]
    assert [event.value for event in events.Scalars("valid/mnist/accuracy")] == pytest.approx(expected)
    file = one.run_folder(0) / "dvclive/plots/metrics/valid/mnist/accuracy.tsv"
    rows = list(csv.DictReader(file.read_text().splitlines(), delimiter="\t"))
    assert [(int(row["step"]), float(row["accuracy"])) for row in rows] == list(enumerate(expected, 1))


def test_a_missing_package_is_said_before_and_an_error_ends_the_logger_alone(suite_file, tmp_path, monkeypatch, caplog):
    one = experiment(load(suite_file(log=["csv", "tensorboard"])), "digits", "shared")
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(
        BadInput, match=r"log: expected tensorboard to be installed, found none; pip install 'mola-bench\[log\]'"
    ):
        runs.train(one, 0)
    assert not one.run_folder(0).exists()
    with loggers.logged(["csv"], tmp_path) as on_epoch:
        on_epoch([{"epoch": 1}])
        on_epoch([{"epoch": 1}])
    assert caplog.text.count("csv stopped logging: KeyError") == 1
