"""How long a suite's runs took, and about how long those that are left will take, from the seconds of the records."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from mola.experiment.record import Record
from mola.experiment.status import State

# (benchmark, row) → the state of each seed, with its record where it is done or failed
Runs = Mapping[tuple[str, str], Sequence[tuple[State, Record | None]]]
ENDED = ("done", "failed")


def recorded(runs: Runs) -> float:
    """Seconds of the runs that ended, done or failed; of an interrupted one those of the process that finished it."""
    return sum(record.seconds for states in runs.values() for _, record in states if record)


def left(runs: Runs) -> float | None:
    """Estimated seconds of the runs without a record, one after the other; None where no run is done that would tell.

    A run counts as the mean of the done runs of its row on its benchmark; where there is none, of its benchmark, and
    last of the suite. One that was interrupted or is running counts as a whole; tuning is not in it.
    """
    total = 0.0
    for key, states in runs.items():
        if number := sum(state not in ENDED for state, _ in states):
            seconds = typical(runs, key)
            if seconds is None:
                return None
            total += number * seconds
    return total


def typical(runs: Runs, key: tuple[str, str]) -> float | None:
    """Seconds of a run of a (benchmark, row): the mean of its done runs; where there is none, of those of its
    benchmark, and last of the suite.
    """
    done = {
        each: [record.seconds for state, record in states if record and state == "done"]
        for each, states in runs.items()
    }
    of_benchmark = [s for (name, _), seconds in done.items() if name == key[0] for s in seconds]
    of_suite = [s for seconds in done.values() for s in seconds]
    known = done[key] or of_benchmark or of_suite
    return statistics.fmean(known) if known else None


def in_words(runs: Runs) -> str:
    """``; 41 min of training recorded, about 1 h 20 min to do in one process``; empty where nothing is known."""
    seconds, to_do = recorded(runs), left(runs)
    parts = [f"{span(seconds)} of training recorded"] if seconds else []
    if to_do:
        tuning = any(state in ("to tune", "tuning") for states in runs.values() for state, _ in states)
        parts.append(f"about {span(to_do)} to do in one process{', tuning aside' if tuning else ''}")
    return f"; {', '.join(parts)}" if parts else ""


def span(seconds: float) -> str:
    """``35 s``, ``41 min`` or ``1 h 20 min``."""
    if seconds < 59.5:
        return f"{max(1, round(seconds))} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
