"""The state of one run, read from its folder without importing torch."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from mola.config import Suite
from mola.experiment import record
from mola.experiment.record import Record
from mola.experiment.spec import Experiment, experiments, other_versions
from mola.types import BadInput

State = Literal["done", "failed", "running", "interrupted", "stale", "to do", "to tune", "tuning"]
LOCK, LOG, CHECKPOINT = "lock", "log.txt", "checkpoint.pt"  # files of a run's folder
CHECKPOINTS = "checkpoint*.pt"  # the newest one, and the one before it


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
        return "interrupted" if any(folder.glob(CHECKPOINTS)) else "to do", None
    except BadInput:
        return "stale", None
    return ("stale", None) if experiment.stale(run, seed) else (run.status, run)


def failed(suite: Suite) -> Iterator[tuple[Experiment, int, Record]]:
    """The runs of a suite that failed, with their records."""
    for experiment in experiments(suite):
        for seed in suite.seeds:
            word, run = look(experiment, seed)
            if word == "failed" and run is not None:
                yield experiment, seed, run


def again(experiment: Experiment, seeds: Sequence[int], config: Path | None = None) -> str:
    """What trains runs again, for a shell. config: the suite's file, where it is known."""
    words = ["mola", "train", *([] if config is None else ["-c", str(config)])]
    words += ["-b", experiment.benchmark, "-m", experiment.label, *(w for seed in seeds for w in ("-s", str(seed)))]
    return shlex.join(words)


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
    except OSError:
        # in a folder that can't be written nobody trains
        return False
