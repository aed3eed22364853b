"""The data path against the training step: how many images a second one gives and the other needs."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from mola.bench.measure import flops, interleaved
from mola.experiment.spec import Experiment
from mola.training.build import build
from mola.training.devices import claim
from mola.training.loading import load
from mola.training.optim import make_optimizer
from mola.training.step import TrainingStep
from mola.types import Batch

# of one round; fewer where an epoch has fewer
STEPS = 24
# operations per second of training that a GPU may reach, where none is told
TERA = 20.0


@dataclass(frozen=True)
class Rates:
    """Images per second, medians on the wall.

    loader:     batches drawn, moved and normalised, with no training next to it.
    one_by_one: the same without the loader's thread.
    step:       training on a batch that lies on the device.
    training:   steps fed by the loader, as the loop runs them.
    flops:      operations of a step for each image, 0 where they were not counted.
    tera:       10¹² operations a second that a faster device is supposed to reach.
    """

    loader: float
    one_by_one: float
    step: float
    training: float
    flops: float = 0.0
    tera: float = TERA

    @property
    def needed(self) -> float:
        """Images per second that the supposed device trains."""
        return 1e12 * self.tera / self.flops

    @property
    def supply(self) -> float:
        """How many times what the step needs the loader gives: above 1 the device need not wait."""
        return self.loader / self.step

    def __str__(self) -> str:
        return "\n".join([*self._rates(), *self.verdicts()])

    def _rates(self) -> list[str]:
        return [
            f"loader               {self.loader:9.0f} images/s",
            f"  without its thread {self.one_by_one:9.0f} images/s",
            f"training step        {self.step:9.0f} images/s",
            f"  fed by the loader  {self.training:9.0f} images/s, {self.training / self.step:.2f} of the step",
        ]

    def verdicts(self) -> list[str]:
        """Whether the loader gives what this device needs, and what a faster one would."""
        met = "met" if self.supply >= 1 else "MISSED"
        lines = [f"the loader gives {self.supply:.1f} times what the step needs, threshold 1.0 {met}"]
        if self.flops:
            a_step = f"a step takes {self.flops / 1e9:.2g} billion operations an image"
            device = f"a device that reaches {self.tera:g}·10¹² a second"
            share = self.loader / self.needed
            lines.append(f"{a_step}: {device} needs {self.needed:.0f} images/s, {share:.2g} times from here")
        return lines


def rates(experiment: Experiment, repeats: int, tera: float = TERA) -> tuple[Rates, dict[str, Any]]:
    """The rates of an experiment with its configured settings, and what they were measured on. Raises BadInput."""
    settings = experiment.configured
    training = settings.training
    size, sampling = training.batch_size, training.sampling
    with claim(experiment.suite.device) as device:
        data, method, balancer = build(settings, experiment.suite.data, 0, device)
        optimizer = make_optimizer(training, [*method.parameters(), *balancer.parameters()], method.parts())
        steps = min(STEPS, data.steps(size=size, sampling=sampling))
        step = TrainingStep(
            method, balancer, optimizer, data.tasks,
            share=training.loss_weight == "share", amp=training.amp and device.type == "cuda",
        )  # fmt: skip

        def loader() -> Generator[Batch]:
            return load(data, "train", device, size=size, sampling=sampling)

        def one_by_one() -> Generator[Batch]:
            for batch in data.batches("train", size=size, seed=0, epoch=0, sampling=sampling):
                yield replace(batch, x=data.normalised(batch.x.to(device)))

        def over(batches: Callable[[], Generator[Batch]], work: Callable[[Batch], object]) -> Callable[[], None]:
            def run() -> None:
                with closing(batches()) as source:
                    for batch in islice(source, steps):
                        work(batch)

            return run

        with closing(loader()) as source:
            on_device = next(source)
        works = {
            "loader": over(loader, lambda batch: None),
            "one_by_one": over(one_by_one, lambda batch: None),
            "step": lambda: [step(on_device) for _ in range(steps)],
            "training": over(loader, step),
        }
        times = interleaved(works, repeats, device)
        operations = flops(lambda: step(on_device)) / len(on_device.x)
        speeds = {name: steps * size / time.median_wall for name, time in times.items()}
        measured = Rates(**speeds, flops=operations, tera=tera)
        return measured, {"settings": settings.model_dump(mode="json"), "steps": steps, "device": str(device)}
