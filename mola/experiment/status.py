"""The state of one run, read from its folder without importing torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from mola.experiment import record
from mola.experiment.record import Record
from mola.experiment.spec import Experiment, other_versions
from mola.types import BadInput

State = Literal["done", "failed", "running", "interrupted", "stale", "to do", "to tune", "tuning"]
LOCK, CHECKPOINT = "lock", "checkpoint.pt"  # files of a run's folder


def state(experiment: Experiment, seed: int) -> State:
    """The state of one run, see :func:`look`."""
    return look(experiment, seed)[0]


def look(experiment: Experiment, seed: int) -> tuple[State, Record | None]:
    """The state of one run, and its record where it is done or failed.

    done, failed:    there is a record of the experiment as it is now. stale: a record of other code, settings, splits
                     or data.
    interrupted:     there is a checkpoint that no process works on.
    to tune, tuning: the suite tunes, and what tuning finds is not there yet.
    """
    folder = experiment.run_folder(seed)
    if _held(folder / LOCK):
        return "running", None
    if not experiment.is_tuned:
        return "tuning" if _held(experiment.study_folder / LOCK) else "to tune", None
    try:
        run = record.read(folder / record.NAME)
    except FileNotFoundError:
        return "interrupted" if (folder / CHECKPOINT).is_file() else "to do", None
    except BadInput:
        return "stale", None
    return ("stale", None) if experiment.stale(run, seed) else (run.status, run)


def versions_behind(experiment: Experiment) -> list[str]:
    """Packages whose minor version is another now than when runs of the experiment were made."""
    changes: dict[str, None] = {}
    for seed in experiment.suite.seeds:
        try:
            run = record.read(experiment.run_folder(seed) / record.NAME)
        except (FileNotFoundError, BadInput):
            continue
        changes |= dict.fromkeys(other_versions(run))
    return list(changes)


def _held(lock: Path) -> bool:
    """Whether a living process holds the lock."""
    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
