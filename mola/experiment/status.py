"""The state of one run, read from its folder without importing torch."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from filelock import FileLock, Timeout

from mola.experiment import record
from mola.experiment.record import Record
from mola.experiment.spec import Experiment, other_versions
from mola.types import BadInput

State = Literal["done", "failed", "running", "interrupted", "stale", "to do", "to tune", "tuning"]
LOCK, CHECKPOINT = "lock", "checkpoint.pt"  # files of a run's folder


class Look(NamedTuple):
    """The state of one run, its record where it is done or failed, and the reason where it is stale."""

    state: State
    record: Record | None = None
    reason: str = ""


def state(experiment: Experiment, seed: int) -> State:
    """The state of one run, see :func:`look`."""
    return look(experiment, seed).state


def look(experiment: Experiment, seed: int) -> Look:
    """The state of one run.

    done, failed:    there is a record of the experiment as it is now. stale: a record of other code, settings, splits
                     or data, or one that can't be trusted.
    interrupted:     there is a checkpoint that no process works on.
    to tune, tuning: the suite tunes, and what tuning finds is not there yet.
    """
    folder = experiment.run_folder(seed)
    if _held(folder / LOCK):
        return Look("running")
    if not experiment.is_tuned:
        return Look("tuning" if _held(experiment.study_folder / LOCK) else "to tune")
    try:
        run = record.read(folder / record.NAME, scores=False)
    except FileNotFoundError:
        return Look("interrupted" if (folder / CHECKPOINT).is_file() else "to do")
    except BadInput as error:
        return Look("stale", None, str(error))
    reason = experiment.stale(run, seed)
    return Look("stale", None, reason) if reason else Look(run.status, run)


def versions_behind(runs: Iterable[Record]) -> list[str]:
    """Packages whose minor version is another now than when these runs were made."""
    return list(dict.fromkeys(change for run in runs for change in other_versions(run)))


def _held(lock: Path) -> bool:
    """Whether a living process holds the lock."""
    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
