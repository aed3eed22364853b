"""A sample of finished runs, trained once more and compared with their records."""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mola import portable
from mola.experiment.record import Record
from mola.experiment.rerun import differences, is_portable, listed, other_surroundings, prepared, rerun
from mola.experiment.run import finished, machine
from mola.experiment.spec import Experiment
from mola.metrics import averageable, overall
from mola.training.devices import claim


@dataclass(frozen=True)
class SampledRun:
    """A run of the sample.

    surroundings: what differs between where it was made and here, a text each.
    unknown:      what may differ, too, as its record does not say it.
    is_portable:  whether its bits are to be the same on every processor with AVX2.
    """

    experiment: Experiment
    record: Record
    surroundings: tuple[str, ...]
    unknown: tuple[str, ...]
    is_portable: bool

    @property
    def may_differ(self) -> tuple[str, ...]:
        """What differs of the surroundings, or may."""
        return self.surroundings + self.unknown

    @property
    def exact(self) -> bool:
        """Whether every bit has to be equal."""
        return self.is_portable and not self.surroundings


def draw(experiments: Sequence[Experiment], number: int, seed: int) -> tuple[list[SampledRun], int]:
    """A sample of the finished runs of experiments as they are now, without repetition, and of how many it is one.

    number: of the sample; all runs where there are fewer.
    seed:   of the draw.
    """
    runs = [(e, record) for e in experiments for s in e.suite.seeds if (record := finished(e, s))]
    chosen = random.Random(seed).sample(runs, min(number, len(runs)))
    return [_sampled(experiment, record) for experiment, record in chosen], len(runs)


def compare(sample: Sequence[SampledRun], tolerance: float) -> Iterator[tuple[str, bool]]:
    """Train the runs of a sample once more; of each a line that says how it compares, and whether it agrees.

    tolerance: in points of the mean test score, for runs that need not be equal to the last bit.
    Raises BadInput where data can't be had.
    """
    for run in sample:
        name, seed = f"{run.experiment.name} seed {run.record.seed}", run.record.seed
        experiment = prepared(run.experiment)
        if reason := experiment.stale(run.record, seed):
            yield f"{name}: differs: {reason}", False
            continue
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="mola-reproduce-") as scratch:
            again = rerun(experiment, seed, Path(scratch), native=run.is_portable and bool(portable.unsupported()))
        text, agrees = _verdict(run, again, tolerance)
        yield f"{name}: {text}, {time.perf_counter() - began:.0f} s)", agrees


def _sampled(experiment: Experiment, record: Record) -> SampledRun:
    with claim(experiment.suite.device) as device:
        surroundings = other_surroundings(record, machine(device))
    if is_portable(record) and (reason := portable.unsupported()):
        surroundings.insert(0, f"processor x86-64 with AVX2 and FMA, here {reason}")
    unknown = () if is_portable(record) or _names_processor(record.device) else ("processor not recorded",)
    return SampledRun(experiment, record, tuple(surroundings), unknown, is_portable(record))


def _names_processor(device: str) -> bool:
    """Whether a record's device says more of a processor than its architecture, ``cpu: x86_64``, which is one word."""
    kind, _, name = device.partition(": ")
    return kind != "cpu" or len(name.split()) > 1


def _verdict(run: SampledRun, again: Record, tolerance: float) -> tuple[str, bool]:
    """How a run compares, up to the time that stands last in the brackets, and whether it agrees."""
    tasks = run.experiment.data.tasks
    title = "average" if averageable(tasks) else "score"
    changes = differences(run.record, again)
    if not changes:
        return f"equal (weights {str(again.weights_sha256)[:8]}…, {title} {100 * overall(again.test, tasks):.2f}", True
    if again.status == "failed":
        return f"differs: failed here: {again.reason} (", False
    old, new = (100 * overall(record.test, tasks) for record in (run.record, again))
    scores = f"{title} {old:.2f}, here {new:.2f}"
    # equal weights give equal scores everywhere, and on one machine equal scores and losses come of equal weights: a
    # record that says otherwise was changed
    changed = run.record.weights_sha256 == again.weights_sha256 or (
        not run.may_differ and all(c.startswith("weights ") for c in changes)
    )
    if run.exact or changed or not (math.isfinite(new) and abs(new - old) <= tolerance):
        return f"differs: {listed(changes)} ({scores}", False
    return f"agrees within {tolerance:g} points ({scores}", True
