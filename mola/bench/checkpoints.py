"""What a checkpoint costs, against the time until the next one is due."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mola.experiment.spec import Experiment
from mola.training.build import build
from mola.training.checkpoint import CHEAP, Checkpoint, Position
from mola.training.devices import claim
from mola.training.evaluate import evaluate
from mola.training.loading import load
from mola.training.optim import make_optimizer
from mola.training.selection import Selection
from mola.training.step import TrainingStep

STEPS = 3  # before the first checkpoint, so that the optimiser has a state


@dataclass(frozen=True)
class Cost:
    """Of a run's checkpoints, on the wall.

    bytes:   of the file.
    seconds: to write one, until it is on the disk.
    between: seconds until the next one is due, by ``training.checkpoint``; validation is not counted.
    bound:   the share of a run that those after epochs may cost beside, which are written where they are cheap.
    """

    bytes: int
    seconds: float
    between: float
    bound: float

    @property
    def share(self) -> float:
        """The share of a run that checkpoints cost at most."""
        return self.seconds / (self.seconds + self.between) + self.bound

    def __str__(self) -> str:
        cheap = f", and after epochs at most {self.bound:.0%}" if self.bound else ""
        return "\n".join(
            [
                f"checkpoint  {self.bytes / 1e6:,.1f} MB, {self.seconds:.3f} s to write",
                f"at most one in {self.between:,.1f} s{cheap}",
                f"costs at most {self.share:.2%} of a run",
            ]
        )


def cost(experiment: Experiment, repeats: int) -> Cost:
    """The cost of an experiment's checkpoints with its configured settings, written to the disk of its results. Raises
    BadInput.
    """
    settings, folder = experiment.configured, experiment.suite.results
    training = settings.training
    while not folder.is_dir():
        folder = folder.parent
    with claim(experiment.suite.device) as device, tempfile.TemporaryDirectory(dir=folder) as scratch:
        data, method, balancer = build(settings, experiment.suite.data, 0, device)
        optimizer = make_optimizer(training, [*method.parameters(), *balancer.parameters()], method.parts())
        amp = training.amp and device.type == "cuda"
        step = TrainingStep(method, balancer, optimizer, data.tasks, share=training.loss_weight == "share", amp=amp)
        batch = next(load(data, "train", device, size=training.batch_size, sampling=training.sampling))
        step_seconds = [_seconds(lambda: [float(loss) for loss in step(batch).values()]) for _ in range(STEPS)]
        selection = Selection(method, data.tasks)
        selection.update(1, evaluate(method, data, "valid", size=4 * training.batch_size, device=device, amp=amp))
        parts = {"method": method, "optimizer": optimizer, "balancer": balancer, "selection": selection}
        checkpoint = Checkpoint(Path(scratch, "checkpoint.pt"), "measured", parts)
        seconds = statistics.median(_seconds(lambda: checkpoint.save(Position(), [])) for _ in range(repeats))
        size = checkpoint.path.stat().st_size
    per_epoch = training.passes * data.steps(size=training.batch_size, sampling=training.sampling)
    ((unit, number),) = training.checkpoint.items()
    each = {"minutes": 60.0, "steps": min(step_seconds), "epochs": per_epoch * min(step_seconds)}[unit]
    return Cost(size, seconds, number * each, CHEAP if unit == "minutes" else 0.0)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
