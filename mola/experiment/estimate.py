"""How long a suite will take, from a few measured steps of every row; nothing is trained and nothing is written."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch

from mola.experiment.spec import Experiment
from mola.methods import Method
from mola.sections import Training
from mola.seeds import derive
from mola.training.build import build
from mola.training.devices import claim
from mola.training.loading import load
from mola.training.optim import make_optimizer
from mola.training.step import TrainingStep
from mola.types import Batch, Benchmark, Split

T = TypeVar("T")
STEPS = 3  # that are timed, after one that is not
BATCHES = 3  # of validation


@dataclass(frozen=True)
class Pace:
    """Seconds of one row on one benchmark. start: of a process, until its first step; run: of one seed after that;
    trials: of all trials that tune it.
    """

    start: float
    run: float
    trials: float

    def total(self, seeds: int) -> float:
        """Of all seeds and trials; trials have a process of their own."""
        return self.start + seeds * self.run + (self.start + self.trials if self.trials else 0)


def measured(experiment: Experiment) -> Pace:
    """The pace of a row, whose data must be prepared. Raises BadInput for what can't be trained."""
    settings, suite = experiment.configured, experiment.suite
    # what this process has spent until now is what every process spends on imports
    imports = time.process_time()
    with claim(suite.device) as device:
        clock = _clock(device)
        seed = suite.seeds[0]
        # what is kept on the disk for all rows, such as features of frozen stages, is made by the first of these
        build(settings, suite.data, seed, device)
        building, (benchmark, method, balancer) = _timed(lambda: build(settings, suite.data, seed, device), clock)
        training = settings.training
        optimizer = make_optimizer(training, [*method.parameters(), *balancer.parameters()], method.parts())
        amp, share = training.amp and device.type == "cuda", training.loss_weight == "share"
        step = TrainingStep(method, balancer, optimizer, benchmark.tasks, share=share, amp=amp)
        method.train()
        batches = load(
            benchmark, "train", device, size=training.batch_size, seed=derive(seed, "data"), sampling=training.sampling
        )
        seconds = []
        began = clock()
        for _, batch in zip(range(1 + STEPS), batches, strict=False):
            step(batch)
            seconds.append((now := clock()) - began)
            began = now
        batches.close()
        an_image = _scoring(method, load(benchmark, "valid", device, size=4 * training.batch_size), clock, device, amp)
    a_step = statistics.median(seconds[1:] or seconds)
    images = experiment.data
    run = building + _run(images, training, a_step, an_image, test=True)
    trials = 0.0
    if suite.tune is not None:
        tuned = training.model_copy(update={"epochs": suite.tune.epochs or training.epochs})
        trial = building + _run(images, tuned, a_step, an_image, test=False)
        trials = suite.tune.budget * suite.tune.seeds * trial
    return Pace(imports, run, trials)


def together(paces: Sequence[Pace], seeds: int, jobs: int) -> float:
    """Seconds of all rows where so many jobs run side by side; the longest of them is the least that it can be."""
    totals = [pace.total(seeds) for pace in paces]
    return max([sum(totals) / jobs, *totals])


def _run(benchmark: Benchmark, training: Training, step: float, image: float, *, test: bool) -> float:
    steps = training.passes * benchmark.steps(size=training.batch_size, sampling=training.sampling)
    # after every epoch, and once more at the selected one
    scored = (training.epochs + 1) * _images(benchmark, "valid") + (_images(benchmark, "test") if test else 0)
    return training.epochs * steps * step + scored * image


@torch.no_grad()
def _scoring(
    method: Method, batches: Generator[Batch], clock: Callable[[], float], device: torch.device, amp: bool
) -> float:
    """Seconds of evaluation an image, loading included."""
    method.eval()
    numbers = []
    began = clock()
    for batch in islice(batches, BATCHES):
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            method(batch)
        numbers.append(len(batch.x))
    seconds = clock() - began
    batches.close()
    return seconds / sum(numbers)


def _images(benchmark: Benchmark, split: Split) -> int:
    """How many images evaluation looks at."""
    sizes: dict[str, int] = benchmark.group_sizes(split)  # type: ignore[attr-defined]
    return sum(sizes.values())


def _timed(work: Callable[[], T], clock: Callable[[], float]) -> tuple[float, T]:
    began = clock()
    result = work()
    return clock() - began, result


def _clock(device: torch.device) -> Callable[[], float]:
    """Seconds that a run takes. On a CPU those of this process, loading included, as each run has a core: what else the
    machine does meanwhile is not counted.
    """
    if device.type != "cuda":
        return time.process_time

    def finished() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return finished
