"""The data path against the training step: how many images a second one gives and the other needs."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from mola.bench.measure import interleaved
from mola.experiment.run import build
from mola.experiment.spec import Experiment
from mola.training.devices import claim
from mola.training.loading import load
from mola.training.optim import make_optimizer
from mola.training.step import TrainingStep
from mola.types import Batch

STEPS = 24  # of one round; fewer where an epoch has fewer


@dataclass(frozen=True)
class Rates:
    """Images per second, medians on the wall.

    loader: batches made, moved and normalised, with nothing beside it. one_by_one: without the thread.
    step:   training on a batch that lies on the device. training: steps fed by the loader, as the loop runs them.
    """

    loader: float
    one_by_one: float
    step: float
    training: float

    @property
    def supply(self) -> float:
        """How many times what the step needs the loader gives: above 1 the device need not wait."""
        return self.loader / self.step


def rates(experiment: Experiment, repeats: int) -> tuple[Rates, dict[str, Any]]:
    """The rates of an experiment with its own settings, and what they were measured on. Raises BadInput."""
    settings, suite = experiment.configured, experiment.suite
    training = settings.training
    with claim(suite.device) as device:
        data, method, balancer = build(settings, suite.data, 0, device)
        optimizer = make_optimizer(training, [*method.parameters(), *balancer.parameters()])
        steps = min(STEPS, data.steps(size=training.batch_size, sampling=training.sampling))
        with closing(load(data, "train", device, size=training.batch_size, sampling=training.sampling)) as batches:
            held = next(batches)

        step = TrainingStep(
            method, balancer, optimizer, data.tasks,
            share=training.loss_weight == "share", amp=training.amp and device.type == "cuda",
        )  # fmt: skip

        def loader() -> Generator[Batch]:
            return load(data, "train", device, size=training.batch_size, sampling=training.sampling)

        def steps_alone() -> None:
            for _ in range(steps):
                step(held)

        def plainly() -> Generator[Batch]:
            for batch in data.batches("train", size=training.batch_size, seed=0, epoch=0, sampling=training.sampling):
                yield replace(batch, x=data.normalised(batch.x.to(device)))

        def over(batches: Callable[[], Generator[Batch]], work: Callable[[Batch], object]) -> Callable[[], None]:
            def run() -> None:
                with closing(batches()) as found:
                    for batch in islice(found, steps):
                        work(batch)

            return run

        works = {
            "loader": over(loader, lambda batch: None),
            "one_by_one": over(plainly, lambda batch: None),
            "step": steps_alone,
            "training": over(loader, step),
        }
        times = interleaved(works, repeats, device)
        images = steps * training.batch_size
        found = Rates(**{name: images / time.median_wall for name, time in times.items()})
        return found, {"settings": settings.model_dump(mode="json"), "steps": steps, "device": str(device)}


def told(found: Rates) -> str:
    """The rates as text."""
    lines = [
        f"loader               {found.loader:9.0f} images/s",
        f"  without its thread {found.one_by_one:9.0f} images/s",
        f"training step        {found.step:9.0f} images/s",
        f"  fed by the loader  {found.training:9.0f} images/s, {found.training / found.step:.2f} of the step alone",
        f"the loader gives {found.supply:.1f} times what the step needs",
    ]
    return "\n".join(lines)
