"""How far a suite is while it runs, from its folders alone: records, locks, and the last lines of the logs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from mola.experiment.duration import ENDED, Runs, span, typical
from mola.experiment.record import NAME, Record
from mola.experiment.spec import Experiment
from mola.experiment.status import State, look

LOG = "log.txt"
TAIL = 20_000  # bytes of a log that are read: some dozens of epochs
EPOCH = re.compile(r"^(?P<time>\S+ \S+) epoch (?P<epoch>\d+)/(?P<epochs>\d+)  ", re.M)
RESUMED = re.compile(r" resumed after epoch (\d+)(?:, step \d+)?$", re.M)


@dataclass(frozen=True)
class Pace:
    """How far a running run is.

    epochs_done, epochs: of the run. seconds: of its last epoch with validation; None before there are two.
    """

    epochs_done: int
    epochs: int
    seconds: float | None

    @property
    def remaining(self) -> float:
        """The share of the run that is to do."""
        return 1 - self.epochs_done / self.epochs


def pace(folder: Path, epochs: int) -> Pace:
    """That of the run in a folder, as the log of the process that works on it says."""
    try:
        with (folder / LOG).open("rb") as file:
            file.seek(max(0, (folder / LOG).stat().st_size - TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        text = ""
    # what is before belongs to an earlier process
    text = text.rpartition(f" {folder} on ")[2]
    lines = list(EPOCH.finditer(text))
    if not lines:
        resumed = RESUMED.findall(text)
        return Pace(int(resumed[-1]) if resumed else 0, epochs, None)
    times = [datetime.strptime(line["time"], "%Y-%m-%d %H:%M:%S,%f") for line in lines]
    # where the clock was moved back in between, they tell nothing
    gaps = [gap for before, after in pairwise(times[-2:]) if (gap := (after - before).total_seconds()) > 0]
    return Pace(int(lines[-1]["epoch"]), int(lines[-1]["epochs"]), gaps[0] if gaps else None)


class Watch:
    """A suite that is looked at again and again."""

    def __init__(self, experiments: Sequence[Experiment]) -> None:
        self.experiments = experiments
        self.known: dict[Path, tuple[int, Record]] = {}  # the runs that are done, with the time of their record

    def line(self) -> tuple[str, bool]:
        """The state in one line: runs, epochs of those that are running, images per second, and how long it will take;
        and whether all runs have ended.
        """
        runs = {(e.benchmark, e.label): [self._state(e, seed) for seed in e.suite.seeds] for e in self.experiments}
        going_on = [
            (e, seed, pace(e.run_folder(seed), e.settings.training.epochs))
            for e in self.experiments
            for seed, (state, _) in zip(e.suite.seeds, runs[e.benchmark, e.label], strict=True)
            if state == "running"
        ]
        counts = Counter(state for states in runs.values() for state, _ in states)
        total = sum(counts.values())
        parts = [f"{counts['done']} of {total} runs done"]
        parts += [f"{counts[state]} {state}" for state in sorted(counts) if state not in ("done", "running")]
        if going_on:
            each = [f"{e.name} seed {seed}: epoch {p.epochs_done}/{p.epochs}" for e, seed, p in going_on]
            parts.append(f"{len(each)} running ({'; '.join(each)})")
        if rate := sum(_images(e) / p.seconds for e, _, p in going_on if p.seconds):
            parts.append(f"{rate:.0f} images/s")
        if left := remaining(runs, {(e.benchmark, e.label, seed): p for e, seed, p in going_on}):
            parts.append(f"about {span(left / max(1, len(going_on)))} left")
        return ", ".join(parts), all(state in ENDED for states in runs.values() for state, _ in states)

    def _state(self, experiment: Experiment, seed: int) -> tuple[State, Record | None]:
        path = experiment.run_folder(seed) / NAME
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            return look(experiment, seed)[:2]
        known = self.known.get(path)
        if known and known[0] == changed:
            return known[1].status, known[1]
        state, record, _ = look(experiment, seed)
        # a failed one may be tried again, and keeps its record until then
        if record is not None and state == "done":
            self.known[path] = (changed, record)
        return state, record


def remaining(runs: Runs, paces: Mapping[tuple[str, str, int], Pace]) -> float | None:
    """Estimated seconds of what is to do, one run after the other; None where nothing tells. Tuning is not in it.

    A run counts as in :func:`mola.experiment.duration.left`; where no run is done, as the running ones' epochs are.
    Of a run that is going on the epochs that are done do not count.
    paces: (benchmark, row, seed) → of the runs that are going on.
    """
    whole = [pace.seconds * pace.epochs for pace in paces.values() if pace.seconds]
    fallback = sum(whole) / len(whole) if whole else None
    going_on: dict[tuple[str, str], float] = {}
    for (benchmark, label, _), one in paces.items():
        going_on[benchmark, label] = going_on.get((benchmark, label), 0.0) + one.remaining
    total = 0.0
    for key, states in runs.items():
        number = sum(state not in ENDED and state != "running" for state, _ in states) + going_on.get(key, 0.0)
        if number:
            seconds = typical(runs, key) or fallback
            if seconds is None:
                return None
            total += number * seconds
    return total


def _images(experiment: Experiment) -> int:
    """Training images of an epoch."""
    training = experiment.settings.training
    steps = experiment.data.steps(size=training.batch_size, sampling=training.sampling)
    return training.passes * steps * training.batch_size
