"""A study that was killed has the same trials as one that was not, value by value."""

import json
import os
import signal
import subprocess
import sys

import optuna
import pytest
from studies import KILLED, near, opened, pretend, scored, trials

from mola.config import load
from mola.experiment.spec import experiment
from mola.tuning import budget, store, study
from mola.types import BadInput


def test_draws_follow_from_the_finished_trials_alone(suite_of, monkeypatch):
    """Killed and refused ones leave no trace, nor does what the process drew before."""
    pretend(monkeypatch)
    whole = suite_of(suite="whole", tune={"trials": 14})
    study.tune(experiment(whole, "digits", "shared"))
    cut = suite_of(suite="cut", tune={"trials": 14})
    for stop in (2, 5, 11, 12):

        def killed(*given, stop=stop):
            if len(store.finished(opened(cut))) == stop:
                raise KeyboardInterrupt
            return scored(near(given[0]))

        monkeypatch.setattr(budget, "score", killed)
        with pytest.raises(KeyboardInterrupt):
            study.tune(experiment(cut, "digits", "shared"))
    pretend(monkeypatch)
    study.tune(experiment(cut, "digits", "shared"))
    assert trials(cut) == trials(whole)
    states = [trial.state.name for trial in opened(cut).trials]
    assert states.count("FAIL") == 4 and states.count("COMPLETE") == 14 and "RUNNING" not in states


@pytest.mark.parametrize("kept", [0, 1])
def test_a_kill_before_the_first_trial_leaves_a_study_that_goes_on(suite_of, monkeypatch, kept):
    """With so many of the attributes written that it tells about itself."""
    pretend(monkeypatch)
    suite, real, written = suite_of(), optuna.Study.set_user_attr, []

    def write(self, key, value):
        if len(written) == kept:
            raise KeyboardInterrupt
        written.append(key)
        real(self, key, value)

    def score(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(optuna.Study, "set_user_attr", write)
    monkeypatch.setattr(budget, "score", score)
    with pytest.raises(KeyboardInterrupt):
        study.tune(experiment(suite, "digits", "shared"))
    monkeypatch.setattr(optuna.Study, "set_user_attr", real)
    pretend(monkeypatch)
    assert study.tune(experiment(suite, "digits", "shared"))["optuna"] == optuna.__version__


def test_older_journals_that_hold_optunas_version_apart_go_on_or_are_refused_in_one_line(suite_of, monkeypatch):
    """They were written in two steps, and a kill between them left the first alone; their lines have no checksum."""
    pretend(monkeypatch)
    study.tune(experiment(suite_of(), "digits", "shared"))
    path = experiment(suite_of(), "digits", "shared").folder / "optuna/journal.log"
    contents = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(type(content.pop(store.CHECKSUM)) is int for content in contents)
    lines = [json.dumps(content) for content in contents]
    at = next(i for i, line in enumerate(lines) if "identity" in line)
    expected = json.loads(lines[at])
    version = expected["user_attr"]["identity"].pop("optuna")
    apart = [json.dumps(expected), json.dumps({**expected, "user_attr": {"optuna": version}})]
    path.write_text("\n".join([*lines[:at], *apart, *lines[at + 1 :], ""]))
    assert study.tune(experiment(suite_of(), "digits", "shared"))["optuna"] == version
    path.write_text("\n".join([*lines[:at], apart[0], ""]))
    with pytest.raises(BadInput, match=f"changed: optuna: None → {version}; mola tune --restart"):
        study.tune(experiment(suite_of(), "digits", "shared"))


@pytest.mark.slow
def test_kill_9_then_the_trials_are_those_of_an_uninterrupted_study(suite_file, tmp_path):
    """It kills itself after the first epoch of the third trial, each of which writes three checkpoints."""
    training = {"epochs": 2, "batch_size": 16, "lr": 0.002, "checkpoint": {"epochs": 1}}
    changes = {"methods": {"mola_grad": None}, "training": training}
    whole = load(suite_file(suite="whole", tune={"trials": 4, "epochs": 2}, **changes))
    study.tune(experiment(whole, "digits", "mola_grad"))
    path = suite_file(suite="cut", tune={"trials": 4, "epochs": 2}, **changes)
    cut = load(path)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), "8", "mola_grad"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = experiment(cut, "digits", "mola_grad").folder / "optuna"
    assert [trial.state.name for trial in opened(cut, "mola_grad").trials] == ["COMPLETE", "COMPLETE", "RUNNING"]
    assert (folder / "checkpoint0.pt").is_file()
    torn = (folder / "journal.log").open("ab")
    torn.write(b'{"op_code":5,"worker')  # and another kill in the middle of a write
    torn.close()
    (folder / "journal.log.lock").touch()
    result = study.tune(experiment(cut, "digits", "mola_grad"))
    assert "resumed after epoch 1" in (folder / "log.txt").read_text()
    assert trials(cut, "mola_grad") == trials(whole, "mola_grad")
    reference = json.loads((experiment(whole, "digits", "mola_grad").folder / "optuna/tuned.json").read_text())
    assert result["parameters"] == reference["parameters"] and result["value"] == reference["value"]
    assert not list(folder.glob("checkpoint*"))
