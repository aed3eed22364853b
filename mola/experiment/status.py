"""The state of one run, read from its folder without importing torch."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from filelock import FileLock, Timeout

from mola.config import Suite
from mola.experiment import record
from mola.experiment.plausible import fault
from mola.experiment.record import Record
from mola.experiment.spec import Experiment, experiments, other_versions
from mola.types import BadInput

State = Literal["done", "failed", "running", "interrupted", "stale", "to do", "to tune", "tuning"]
LOCK, LOG, CHECKPOINT = "lock", "log.txt", "checkpoint.pt"  # files of a run's folder
CHECKPOINTS = "checkpoint*.pt"  # the newest one, and the one before it


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
        return Look("interrupted" if any(folder.glob(CHECKPOINTS)) else "to do")
    except BadInput as error:
        return Look("stale", None, str(error))
    reason = experiment.stale(run, seed)
    # of a record that an index lists scores are not read: it was whole when the index was written
    if not reason and run.status == "done" and run.test:
        reason = fault(run, experiment.data.tasks)
    return Look("stale", None, reason) if reason else Look(run.status, run)


def failed(suite: Suite) -> Iterator[tuple[Experiment, int, Record]]:
    """The runs of a suite that failed, with their records."""
    for experiment in experiments(suite):
        for seed in suite.seeds:
            one = look(experiment, seed)
            if one.state == "failed" and one.record is not None:
                yield experiment, seed, one.record


def again(experiment: Experiment, seeds: Sequence[int], config: Path | None = None) -> str:
    """What trains runs again, for a shell. config: the suite's file, where it is known."""
    words = ["mola", "train", *([] if config is None else ["-c", str(config)])]
    words += ["-b", experiment.benchmark, "-m", experiment.label, *(w for seed in seeds for w in ("-s", str(seed)))]
    return shlex.join(words)


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
    except OSError:
        # in a folder that can't be written nobody trains
        return False
