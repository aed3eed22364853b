"""The training loop. It knows no method and no benchmark by name."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mola.methods import Method
from mola.metrics import undefined
from mola.sections import Training
from mola.seeds import derive
from mola.training.checkpoint import Checkpoint
from mola.training.evaluate import Scores, evaluate
from mola.training.loading import load
from mola.training.optim import make_optimizer, make_schedule
from mola.training.probes import Probe
from mola.training.selection import Selection
from mola.training.step import TrainingStep
from mola.types import Balancer, Batch, Benchmark, Split

log = logging.getLogger(__name__)
Curve = list[dict[str, Any]]  # an entry an epoch, with the keys of mola.experiment.record.Epoch
OnStep = Callable[[int, int], None]  # steps done, steps in all
OnEpoch = Callable[[Curve], None]  # the curve so far


@dataclass
class Outcome:
    """What a finished training gives its record.

    selected: part of the method → the selected epoch. valid, test: the scores there; test is read once, after
    selection.
    """

    curve: Curve = field(default_factory=list)
    selected: dict[str, int] = field(default_factory=dict)
    valid: Scores = field(default_factory=dict)
    test: Scores = field(default_factory=dict)

    @property
    def seconds_per_step(self) -> float | None:
        """The median over epochs of the mean step, loading and augmentation included; None before the first epoch."""
        steps = [epoch["train_seconds"] / epoch["steps"] for epoch in self.curve]
        return float(statistics.median(steps)) if steps else None


def fit(
    method: Method,
    balancer: Balancer,
    benchmark: Benchmark,
    training: Training,
    *,
    seed: int,
    device: torch.device,
    path: Path,
    fingerprint: str,
    probes: Sequence[Probe] = (),
    on_step: OnStep = lambda done, total: None,
    on_epoch: OnEpoch = lambda curve: None,
    test: bool = True,
) -> Outcome:
    """Train, select an epoch on valid, read test once.

    path:     the checkpoint, written after every epoch; a run with the same fingerprint continues from it, bit for bit.
    probes:   measure, and change nothing.
    on_epoch: called after every epoch, and with what a checkpoint brought; what it raises ends the training.
    test:     False leaves the test split alone, as tuning must.
    Raises ArithmeticError when a loss is not finite.
    """
    amp = training.amp and device.type == "cuda"
    optimizer = make_optimizer(training, [*method.parameters(), *balancer.parameters()], method.parts())
    schedule = make_schedule(training, optimizer)
    step = TrainingStep(method, balancer, optimizer, benchmark.tasks, share=training.loss_weight == "share", amp=amp)
    selection, outcome = Selection(method, benchmark.tasks), Outcome()
    parts = {
        "method": method,
        "optimizer": optimizer,
        "schedule": schedule,
        "balancer": balancer,
        "selection": selection,
        **{probe.name: probe for probe in probes},
    }
    checkpoint = Checkpoint(path, fingerprint, parts)

    def scores(split: Split) -> Scores:
        return evaluate(method, benchmark, split, size=4 * training.batch_size, device=device, amp=amp)

    def batches(epoch: int) -> Iterator[Batch]:
        for each in range(epoch * training.passes, (epoch + 1) * training.passes):
            yield from load(
                benchmark, "train", device,
                size=training.batch_size, seed=derive(seed, "data"), epoch=each, sampling=training.sampling,
            )  # fmt: skip

    per_epoch = training.passes * benchmark.steps(size=training.batch_size, sampling=training.sampling)
    start, outcome.curve = checkpoint.resume()
    on_epoch(outcome.curve)
    for epoch in range(start, training.epochs):
        began, lr = time.perf_counter(), schedule.get_last_lr()[0]
        totals: dict[str, list[Tensor]] = defaultdict(list)
        method.train()
        steps = 0
        for steps, batch in enumerate(batches(epoch), 1):
            for name, loss in step(batch).items():
                totals[name].append(loss)
            on_step(epoch * per_epoch + steps, training.epochs * per_epoch)
        balancer.end_epoch()
        schedule.step()
        # reading the losses waits for the GPU, so that the clock sees its work
        train = {name: float(torch.stack(values).mean()) for name, values in totals.items()}
        seconds = time.perf_counter() - began
        _require_finite(train, epoch + 1)
        valid = scores("valid")
        selection.update(epoch + 1, valid)
        outcome.curve.append(
            {"epoch": epoch + 1, "lr": lr, "steps": steps, "train_seconds": seconds, "train": train, "valid": valid}
        )
        for probe in probes:
            probe.after(epoch + 1, method)
        ranked = "  ".join(f"{t.name} {t.metrics[0]} {valid[t.name][t.metrics[0]]:.4f}" for t in benchmark.tasks)
        log.info("epoch %d/%d  loss %.4f  valid: %s", epoch + 1, training.epochs, sum(train.values()), ranked)
        checkpoint.save(epoch + 1, outcome.curve)
        on_epoch(outcome.curve)

    outcome.selected = selection.restore()
    outcome.valid = scores("valid")
    if test:
        outcome.test = scores("test")
        for task in benchmark.tasks:
            values = outcome.test[task.name]
            known = values.keys() - {metric.name for metric in undefined(task, values)}
            if bad := [name for name in values if name in known and not math.isfinite(values[name])]:
                raise ArithmeticError(f"test {', '.join(bad)} of {task.name} is not finite at the selected epoch")
        for probe in probes:
            probe.selected(method)
    return outcome


def _require_finite(train: Mapping[str, float], epoch: int) -> None:
    if bad := [name for name, value in train.items() if not math.isfinite(value)]:
        raise ArithmeticError(f"training diverged in epoch {epoch}: loss of {', '.join(bad)} is not finite")
