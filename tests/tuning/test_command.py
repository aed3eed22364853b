"""``mola tune`` as a user meets it: real processes, one line for bad input, exit codes."""

import json
import subprocess
import sys

import pytest
import yaml


def mola(*words):
    done = subprocess.run(
        [sys.executable, "-m", "mola.cli", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_help_teaches():
    text = " ".join(mola("tune", "--help").stdout.split())
    for word in (
        "same number of finished trials",
        "validation split",
        "--restart",
        "config/tuned.yaml",
        "-m mola_grad",
    ):
        assert word in text


@pytest.mark.slow
def test_tune_status_train_and_a_changed_space(suite_file, tmp_path):
    wild = {"method": "shared", "balancer": "static", "training": {"lr": 1.0e30, "optimizer": "sgd"}}
    methods = {"shared": None, "wild": wild}
    training = {"epochs": 1, "batch_size": 16, "lr": 0.002}
    path = suite_file(tune={"trials": 2}, methods=methods, training=training)
    assert "2 to tune" in mola("status", "-c", path).stdout
    done = mola("tune", "-c", path)
    assert done.returncode == 1, done.stderr
    assert "digits/shared trial 2/2: " in done.stderr and "epoch 1/1" not in done.stderr
    assert "digits/wild trial 2/2: Diverged: training diverged" in done.stderr
    assert done.stderr.strip().endswith("no trial had a finite score: digits/wild; optuna/history.csv has reasons")
    assert "digits/shared: 0." in done.stdout and "after 2 trials: lr 0.0" in done.stdout
    assert "2 to do" in mola("status", "-c", path).stdout

    done = mola("train", "-c", path, "-m", "wild")
    assert done.returncode == 1, "a row that could not be tuned fails as it is configured, and says so"
    record = json.loads((tmp_path / "results/tiny/digits/wild/seed0/record.json").read_text())
    assert record["status"] == "failed" and record["tuned"] == {"trials": 2, "value": None, "parameters": {}}

    changed = yaml.safe_load(path.read_text()) | {"tune": {"trials": 2, "space": {"lr": [0.1, 0.2]}}}
    path.write_text(yaml.safe_dump(changed))
    done = mola("tune", "-c", path, "-m", "shared")
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
    assert "space.training.lr" in done.stderr and "mola tune --restart" in done.stderr
