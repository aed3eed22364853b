"""A run in a process of its own, and how long its phases take: ``python -m mola.bench.phases`` is that process.

What the run computes is not touched: the functions that a phase is are wrapped, and their seconds counted; seconds of a
phase inside another count for the inner one alone.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

# phase → the functions that it is, as module:name
PHASES = {
    "steps": ("mola.training.fit:_Run.train",),
    "evaluation": ("mola.training.fit:_Run.scores", "mola.training.fit:_Run.finish"),
    "probes": ("mola.training.fit:_Run.look",),
    "checkpoints": ("mola.training.checkpoint:Checkpoint.save",),
    "records": (
        "mola.experiment.run:weights_sha256",
        "mola.experiment.run:_write_analysis",
        "mola.experiment.weights:keep",
        "mola.experiment.record:write",
        "mola.experiment.row:write_index",
    ),
}


class Clock:
    """Seconds by phase, on the wall and of this process on all its cores; and what was spent until the first step."""

    def __init__(self) -> None:
        self.seconds = {phase: [0.0, 0.0] for phase in PHASES}
        self.open: list[str] = []
        self.last = _now()
        self.first_step: tuple[float, float] | None = None

    def wrap(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        @functools.wraps(function)
        def timed(*arguments: Any, **names: Any) -> Any:
            self.turn()
            if phase == "steps" and self.first_step is None:
                self.first_step = self.last
            self.open.append(phase)
            try:
                return function(*arguments, **names)
            finally:
                self.turn()
                self.open.pop()

        return timed

    def turn(self) -> None:
        """Count the seconds since the last turn for the open phase. What is before the first step is start-up."""
        now = _now()
        if self.open and self.first_step is not None:
            for i in range(2):
                self.seconds[self.open[-1]][i] += now[i] - self.last[i]
        self.last = now


def _now() -> tuple[float, float]:
    # the wall's clock is the one that the process which started this one reads, too
    return time.time(), time.process_time()


def wrapped(clock: Clock) -> None:
    """Wrap every function of every phase, in this process."""
    for phase, places in PHASES.items():
        for place in places:
            module, _, path = place.partition(":")
            owner: Any = import_module(module)
            *parents, name = path.split(".")
            for parent in parents:
                owner = getattr(owner, parent)
            setattr(owner, name, clock.wrap(phase, getattr(owner, name)))


def main(words: Sequence[str]) -> int:
    """Train a seed as ``mola train`` does, and write the clock's seconds.

    words: configuration, benchmark, method, seeds with commas between, folder of the results, file of the seconds.
    """
    config, benchmark, method, seeds, results, file = words
    from mola.config import load
    from mola.experiment.spec import experiment

    # without tuning, whose results lie in the suite's own folder: it says how fast to learn, not how long it takes
    suite = load(Path(config)).model_copy(update={"tune": None, "results": Path(results)})
    if suite.is_portable:
        from mola import portable

        portable.prepare()
    one = experiment(suite, benchmark, method)
    one.fingerprint  # noqa: B018
    from mola.experiment.row import train_seeds

    clock = Clock()
    wrapped(clock)
    failed = train_seeds(one, [int(seed) for seed in seeds.split(",")])
    Path(file).write_text(json.dumps({"first_step": clock.first_step, **clock.seconds}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
