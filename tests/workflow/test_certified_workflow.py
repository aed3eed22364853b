"""After ``mola reproduce --certify`` Snakemake has nothing to tune or to train."""

import json
import subprocess
import sys

import pytest
from running import environment, planned, snakemake, write_suite

from mola.files import with_checksum

STEP, TRIAL = "mola/training/step.py", "mola/tuning/trial.py"
TUNE = {"trials": 2, "epochs": 1, "space": {"weight_decay": None}}


def git(repository, *words):
    name = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *name, *words], cwd=repository, check=True, capture_output=True)


def mola(repository, *words):
    done = subprocess.run(
        [sys.executable, "-m", "mola.cli", *words, "-c", "tiny.yaml"],
        cwd=repository,
        env=environment(repository),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.long
def test_a_tuned_suite_is_certified_and_nothing_is_left_to_do(repository):
    write_suite(repository, suite="tuned", seeds=2, methods={"shared": None}, tune=TUNE)
    (repository / ".gitignore").write_text("/*\n!/mola\n!/data\n/data/*\n!/data/splits\n__pycache__\n")
    git(repository, "init", "-q")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "one")
    snakemake(repository)
    folder = repository / "results/tuned/digits/shared"
    result = json.loads((folder / "optuna/tuned.json").read_text())

    step = repository / STEP
    text = step.read_text().replace("loss.detach() for name, loss in", "value.detach() for name, value in")
    assert text != step.read_text()
    step.write_text(text)
    git(repository, "commit", "-q", "-a", "-m", "two")
    assert planned(repository).items() >= {"tune": 1, "train": 1}.items()

    code, text = mola(repository, "reproduce", "--certify")
    assert code == 0 and "digits/shared: 1 record certified by seed 0 at " in text, text
    assert not {"tune", "train"} & {*planned(repository)}
    assert "\n2 done;" in mola(repository, "status")[1]
    stamped = json.loads((folder / "optuna/tuned.json").read_text())
    assert stamped["fingerprint"]["code"] != result["fingerprint"]["code"]
    assert stamped == with_checksum(result | {"fingerprint": stamped["fingerprint"]})
    record = json.loads((folder / "seed0/record.json").read_text())
    assert record["tuned"]["parameters"] == result["parameters"]
    snakemake(repository)
    assert planned(repository) == {}
    assert "1 of 2 records certified by seed 0" in (repository / "results/tuned/tables/digits.md").read_text()

    # of a trial alone: no record is stale, but the study is
    trial = repository / TRIAL
    trial.write_text(trial.read_text().replace("for score in scores", "for one in scores").replace("(score.", "(one."))
    git(repository, "commit", "-q", "-a", "-m", "of a trial")
    assert "tune" in planned(repository)
    code, text = mola(repository, "reproduce", "--certify")
    assert code == 0 and "digits/shared: its study is certified at " in text, text
    assert not {"tune", "train"} & {*planned(repository)}

    # other bits: what tuning found is of no use for them
    step.write_text(step.read_text().replace("self.optimizer.step()", "self.optimizer.step() or self.optimizer.step()"))
    git(repository, "commit", "-q", "-a", "-m", "three")
    code, text = mola(repository, "reproduce", "--certify")
    assert code == 1 and "digits/shared: mola tune --restart -b digits -m shared first" in text
    assert json.loads((folder / "seed1/record.json").read_text())["certified"]["seed"] == 0
