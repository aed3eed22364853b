"""A DVC experiment in a project of `mola init`: queued with another setting, run to its end, shown, and applied."""

import csv
import subprocess
import sys

import pytest
import yaml
from running import ROOT, environment

CONFIG = "config/config.yaml"


def run(folder, *words):
    done = subprocess.run(words, cwd=folder, env=environment(ROOT), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long
def test_a_queued_experiment_runs_to_its_end_and_shows_its_metrics(tmp_path):
    run(tmp_path, sys.executable, "-m", "mola.cli", "init", "shop")
    project = tmp_path / "shop"
    dvc = (sys.executable, "-m", "dvc")
    run(project, "git", "init", "-q")
    run(project, "git", "config", "user.name", "n")
    run(project, "git", "config", "user.email", "e@example.org")
    run(project, *dvc, "init", "-q")
    run(project, "git", "add", "-A")
    run(project, "git", "commit", "-qm", "the suite as it is")
    changes = {"seeds": 1, "training.epochs": 1, "training.lr": 0.004}
    settings = [word for key, value in changes.items() for word in ("-S", f"{CONFIG}:{key}={value}")]
    run(project, *dvc, "exp", "run", "--queue", "-n", "short", *settings)
    assert yaml.safe_load((project / CONFIG).read_text())["seeds"] == 2, "the working tree waits"
    try:
        run(project, *dvc, "exp", "run", "--run-all")
    finally:
        # a worker that an error left behind
        subprocess.run([*dvc, "queue", "stop", "--kill"], cwd=project, capture_output=True, check=False)
    lines = run(project, *dvc, "exp", "show", "--csv").splitlines()
    (short,) = (row for row in csv.DictReader(lines) if row["Experiment"] == "short")
    assert short["State"] == "Success" and short["training.lr"] == "0.004"
    scores = {key: float(value) for key, value in short.items() if key.endswith(".json:digits")}
    assert len(scores) == 2 and all(0 < score < 100 for score in scores.values())
    assert not (project / "results").exists()
    run(project, *dvc, "exp", "apply", "short")
    assert (project / "results/shop/tables/summary.md").is_file()
    assert yaml.safe_load((project / CONFIG).read_text())["training"]["epochs"] == 1
