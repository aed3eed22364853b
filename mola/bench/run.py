"""The share of a whole run that is not its steps: start-up, evaluation, checkpoints, records."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from mola.experiment.spec import Experiment
from mola.types import BadInput

# the most that start-up, evaluation, checkpoints and records may take of a run
SHARE = 0.15
OVERHEAD = ("start-up", "evaluation", "checkpoints", "records")


@dataclass(frozen=True)
class Shares:
    """Medians over the repeats; phase → its part of the whole process.

    shares:   of the process's seconds on all its cores: what else the machine does meanwhile is not counted.
    wall:     of those on the wall. seconds: all of these.
    together: of start-up, evaluation, checkpoints and records. in_suite: the same where all seeds of the suite share a
              process, as the workflow runs them, and start-up is paid once: computed, not measured.
    """

    shares: dict[str, float]
    wall: dict[str, float]
    seconds: float
    together: float
    in_suite: float
    seeds: int

    def __str__(self) -> str:
        lines = [f"{'':12s}   busy    wall"]
        lines += [f"{phase:12s} {share:6.1%}  {self.wall[phase]:6.1%}" for phase, share in self.shares.items()]
        lines.append(f"of {self.seconds:.1f} s on the wall, from the start of the process to its end")
        return "\n".join([*lines, *self.verdicts()])

    def verdicts(self) -> list[str]:
        """The threshold, met or missed."""
        lines = [_verdict(f"{', '.join(OVERHEAD)} together", self.together)]
        if self.seeds > 1:
            what = f"the same with the suite's {self.seeds} seeds in one process, computed"
            lines.append(_verdict(what, self.in_suite))
        return lines


def shares(experiment: Experiment, config: Path, seed: int, repeats: int) -> Shares:
    """Train one seed in a process of its own, in a folder that is removed, so many times. Raises BadInput where that
    fails.
    """
    runs = [_run(experiment, config, seed) for _ in range(repeats)]
    wall, busy = ([{phase: seconds[i] for phase, seconds in run.items()} for run in runs] for i in range(2))
    number = len(experiment.suite.seeds)
    return Shares(
        _medians(busy),
        _medians(wall),
        statistics.median(sum(run.values()) for run in wall),
        statistics.median(overhead_share(run, 1) for run in busy),
        statistics.median(overhead_share(run, number) for run in busy),
        number,
    )


def overhead_share(seconds: dict[str, float], seeds: int) -> float:
    """The share of start-up, evaluation, checkpoints and records where so many runs share one start-up."""
    start = seconds["start-up"]
    rest, overhead = sum(seconds.values()) - start, sum(seconds[phase] for phase in OVERHEAD) - start
    return (start + seeds * overhead) / (start + seeds * rest)


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {phase: statistics.median(run[phase] / sum(run.values()) for run in runs) for phase in runs[0]}


def _run(experiment: Experiment, config: Path, seed: int) -> dict[str, tuple[float, float]]:
    """Seconds of each phase, on the wall and on all cores; they add up to the process's."""
    with tempfile.TemporaryDirectory(prefix="mola-bench-") as folder:
        file = Path(folder) / "seconds.json"
        words = [str(config), experiment.benchmark, experiment.label, str(seed), folder, str(file)]
        # a core for each run, as the workflow has it
        environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        began, before = time.time(), _of_children()
        process = subprocess.run(
            [sys.executable, "-m", "mola.bench.phases", *words], env=environment, capture_output=True, text=True
        )
        whole = time.time() - began, _of_children() - before
        if process.returncode or not file.exists():
            lines = process.stderr.strip().splitlines() or ["no word"]
            raise BadInput(f"{experiment.name}: expected a run that ends well, found: {lines[-1]}")
        measured = json.loads(file.read_text())
    wall, busy = measured.pop("first_step")
    phases = {"start-up": (wall - began, busy), **{phase: tuple(seconds) for phase, seconds in measured.items()}}
    rest = (whole[i] - sum(seconds[i] for seconds in phases.values()) for i in range(2))
    return {**phases, "the rest": (next(rest), next(rest))}


def _of_children() -> float:
    """Seconds of all cores that processes took which this one waited for."""
    times = os.times()
    return times.children_user + times.children_system


def _verdict(what: str, share: float) -> str:
    return f"{what}: {share:.1%}, threshold {SHARE:.0%} {'met' if share <= SHARE else 'MISSED'}"
