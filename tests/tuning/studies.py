"""Studies of a tiny suite, and what they left."""

import optuna
import torch

from mola.experiment.spec import experiment
from mola.tuning import budget, store
from mola.tuning.trial import Score

METHODS = {
    "single_task": None,
    "shared": None,
    "weighted": {"method": "shared", "balancer": "static"},
    "mola_grad": None,
}


def near(settings):
    """A value that says which learning rate is best."""
    return -abs(torch.tensor(settings.training.lr).log10().item() + 2.5)


def scored(value, **parts):
    """The score of a method of one part, or of these parts."""
    return Score(value, parts or {"model": value})


def pretend(monkeypatch, value=near):
    """Trials that do not train; the value is a function of the settings. Returns the settings, one by one."""
    drawn = []

    def score(settings, *_):
        drawn.append(settings)
        return scored(value(settings))

    monkeypatch.setattr(budget, "score", score)
    return drawn


def pretend_parts(monkeypatch, score):
    """As ``pretend``, with a function that gives the score of a trial and those of its parts."""

    def pretended(settings, *_):
        value, parts = score(settings)
        return scored(value, **parts)

    monkeypatch.setattr(budget, "score", pretended)


def trials(suite, label="shared"):
    """(values, parameters, user attributes but the seconds) of the finished trials, in order."""
    finished = store.finished(opened(suite, label))
    return [(t.value, t.params, {k: v for k, v in t.user_attrs.items() if k != store.SECONDS}) for t in finished]


def opened(suite, label="shared"):
    path = experiment(suite, "digits", label).folder / "optuna" / "journal.log"
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path.resolve())))
    return optuna.load_study(study_name=None, storage=storage)


# tunes a row of a suite on digits, and dies by SIGKILL after so many checkpoints: FILE NUMBER ROW
KILLED = """
import os, signal, sys
import torch
from mola.config import load
from mola.experiment.spec import experiment
from mola.training.checkpoint import Checkpoint
from mola.tuning import study

torch.set_num_threads(1)
suite, saved, real = load(__import__("pathlib").Path(sys.argv[1])), 0, Checkpoint.save

def save(self, position, curve):
    global saved
    real(self, position, curve)
    saved += 1
    if saved == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoint.save = save
study.tune(experiment(suite, "digits", sys.argv[3]))
"""
