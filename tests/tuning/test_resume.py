"""A study that was killed has the same trials as one that was not, value by value."""

import json
import os
import signal
import subprocess
import sys

import pytest
from studies import near, opened, pretend, trials

from mola.config import load
from mola.tuning import spend, store, study


def test_draws_follow_from_the_finished_trials_alone(suite_of, monkeypatch):
    """Killed and refused ones leave no trace, nor does what the process drew before."""
    pretend(monkeypatch)
    whole = suite_of(suite="whole", tune={"trials": 14})
    study.tune(whole, "digits", "shared")
    cut = suite_of(suite="cut", tune={"trials": 14})
    for stop in (2, 5, 11, 12):

        def killed(*given, stop=stop):
            if len(store.finished(opened(cut))) == stop:
                raise KeyboardInterrupt
            return near(given[0])

        monkeypatch.setattr(spend, "score", killed)
        with pytest.raises(KeyboardInterrupt):
            study.tune(cut, "digits", "shared")
    pretend(monkeypatch)
    study.tune(cut, "digits", "shared")
    assert trials(cut) == trials(whole)
    states = [trial.state.name for trial in opened(cut).trials]
    assert states.count("FAIL") == 4 and states.count("COMPLETE") == 14 and "RUNNING" not in states


KILLED = """
import os, signal, sys
import torch
from mola.config import load
from mola.training import fit
from mola.tuning import study

torch.set_num_threads(1)
suite, saved, real = load(__import__("pathlib").Path(sys.argv[1])), 0, fit.checkpoint.save

def save(path, state):
    global saved
    real(path, state)
    saved += 1
    if saved == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

fit.checkpoint.save = save
study.tune(suite, "digits", "mola_grad")
"""


@pytest.mark.slow
def test_kill_9_then_the_trials_are_those_of_an_uninterrupted_study(suite_file, tmp_path):
    """It kills itself after the first epoch of the third trial."""
    changes = {"methods": {"mola_grad": None}, "training": {"epochs": 2, "batch": 16, "lr": 0.002}}
    whole = load(suite_file(suite="whole", tune={"trials": 4, "epochs": 2}, **changes))
    study.tune(whole, "digits", "mola_grad")
    path = suite_file(suite="cut", tune={"trials": 4, "epochs": 2}, **changes)
    cut = load(path)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), "5"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = cut.cell("digits", "mola_grad") / "optuna"
    assert [trial.state.name for trial in opened(cut, "mola_grad").trials] == ["COMPLETE", "COMPLETE", "RUNNING"]
    assert (folder / "checkpoint0.pt").is_file()
    torn = (folder / "journal.log").open("ab")
    torn.write(b'{"op_code":5,"worker')  # and another kill in the middle of a write
    torn.close()
    (folder / "journal.log.lock").touch()
    found = study.tune(cut, "digits", "mola_grad")
    assert "resumed after epoch 1" in (folder / "log.txt").read_text()
    assert trials(cut, "mola_grad") == trials(whole, "mola_grad")
    reference = json.loads((whole.cell("digits", "mola_grad") / "optuna/tuned.json").read_text())
    assert found["parameters"] == reference["parameters"] and found["value"] == reference["value"]
    assert not list(folder.glob("checkpoint*"))
