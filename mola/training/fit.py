"""The training loop. It knows no method and no benchmark by name."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mola.config import Training
from mola.losses import task_losses
from mola.methods import Method
from mola.seeds import derive
from mola.training import checkpoint
from mola.training.evaluate import Scores, evaluate
from mola.training.loading import load
from mola.training.probes import Watch
from mola.training.seeding import random_state, restore_random_state
from mola.training.selection import Selection
from mola.types import Balancer, Benchmark

log = logging.getLogger(__name__)
Curve = list[dict[str, Any]]
OnStep = Callable[[int, int], None]  # steps done, steps in all
OnEpoch = Callable[[Curve], None]  # the curve so far


@dataclass
class Outcome:
    """What a finished training tells its record."""

    curve: Curve = field(
        default_factory=list
    )  # per epoch: epoch, lr, steps, train_seconds, train {loss per task, aux_loss}, valid {task: metrics}
    selected: dict[str, int] = field(default_factory=dict)  # part → epoch
    valid: Scores = field(default_factory=dict)  # at the selected epoch
    test: Scores = field(default_factory=dict)  # read once, after selection

    @property
    def seconds_per_step(self) -> float:
        """Median over epochs of the mean step, loading and augmentation included."""
        return float(statistics.median(epoch["train_seconds"] / epoch["steps"] for epoch in self.curve))


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
    watches: Sequence[Watch] = (),
    on_step: OnStep = lambda done, total: None,
    on_epoch: OnEpoch = lambda curve: None,
    test: bool = True,
) -> Outcome:
    """Train, select an epoch on valid, read test once.

    path:     the checkpoint, written after every epoch; a run with the same fingerprint continues from it, bit for bit.
    watches:  look on, and change nothing.
    on_epoch: called after every epoch, and with what a checkpoint brought; what it raises ends the training.
    test:     False leaves the test split alone, as tuning must.
    Raises ArithmeticError when a loss is not finite.
    """
    amp = training.amp and device.type == "cuda"
    own, shared = method.own_parameters(), method.shared_parameters()
    optimizer = make_optimizer(training, [*method.parameters(), *balancer.parameters()])
    schedule = make_schedule(training, optimizer)
    selection, outcome = Selection(method, benchmark.tasks), Outcome()
    keeps: dict[str, Any] = {
        "method": method,
        "optimizer": optimizer,
        "schedule": schedule,
        "balancer": balancer,
        "selection": selection,
        **{watch.name: watch for watch in watches},
    }

    per_epoch = benchmark.steps(size=training.batch_size, sampling=training.sampling)
    start = _resume(path, fingerprint, keeps, outcome)
    on_epoch(outcome.curve)
    for epoch in range(start, training.epochs):
        began, steps, lr = time.perf_counter(), 0, schedule.get_last_lr()[0]
        totals: dict[str, list[Tensor]] = defaultdict(list)
        method.train()
        batches = partial(load, benchmark, "train", device, size=training.batch_size, sampling=training.sampling)
        for batch in batches(seed=derive(seed, "data"), epoch=epoch):
            with torch.autocast(device.type, torch.bfloat16, enabled=amp):
                output = method(batch)
            losses = task_losses(benchmark.tasks, output, batch, training.loss_weight == "share")
            optimizer.zero_grad(set_to_none=True)
            balancer.backward(losses, output.aux_loss, shared, own, output.features)
            optimizer.step()
            for name, loss in (losses if output.aux_loss is None else {**losses, "aux_loss": output.aux_loss}).items():
                totals[name].append(loss.detach())
            del output, losses, loss  # with what is left of their graph: the next forward pass needs the room
            steps += 1
            on_step(epoch * per_epoch + steps, training.epochs * per_epoch)
        balancer.end_epoch()
        schedule.step()
        train = {
            name: float(torch.stack(values).mean()) for name, values in totals.items()
        }  # waits for the GPU, so the clock sees the work
        seconds = time.perf_counter() - began
        if bad := [name for name, value in train.items() if not math.isfinite(value)]:
            raise ArithmeticError(f"training diverged in epoch {epoch + 1}: loss of {', '.join(bad)} is not finite")
        valid = evaluate(method, benchmark, "valid", size=4 * training.batch_size, device=device, amp=amp)
        selection.update(epoch + 1, valid)
        outcome.curve.append(
            {"epoch": epoch + 1, "lr": lr, "steps": steps, "train_seconds": seconds, "train": train, "valid": valid}
        )
        for watch in watches:
            watch.after(epoch + 1, method)
        log.info("%s", _line(epoch + 1, training.epochs, train, valid, benchmark))
        checkpoint.save(path, _state(epoch + 1, fingerprint, keeps, outcome))
        on_epoch(outcome.curve)

    outcome.selected = selection.restore()
    outcome.valid = evaluate(method, benchmark, "valid", size=4 * training.batch_size, device=device, amp=amp)
    if not test:
        return outcome
    outcome.test = evaluate(method, benchmark, "test", size=4 * training.batch_size, device=device, amp=amp)
    for task, metrics in outcome.test.items():
        if bad := [name for name, value in metrics.items() if not math.isfinite(value)]:
            raise ArithmeticError(f"test {', '.join(bad)} of {task} is not finite at the selected epoch")
    for watch in watches:
        watch.selected(method)
    return outcome


def make_optimizer(training: Training, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """One optimiser over everything (the released router arms step shared parameters with two)."""
    rate, decay = training.lr, training.weight_decay
    if training.optimizer == "sgd":  # not fused: torch's fails on a parameter whose first gradient comes late
        return torch.optim.SGD(parameters, rate, momentum=training.momentum, weight_decay=decay)
    kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, rate, weight_decay=decay, fused=True)


def make_schedule(training: Training, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """Stepped once after every epoch."""
    if training.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=training.epochs)
    if training.schedule == "step":
        return torch.optim.lr_scheduler.StepLR(optimizer, training.step_epochs, training.step_gamma)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)


def _state(epoch: int, fingerprint: str, keeps: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    states = {name: part.state_dict() for name, part in keeps.items()}
    return {"epoch": epoch, "fingerprint": fingerprint, **states, "random": random_state(), "curve": outcome.curve}


def _resume(path: Path, fingerprint: str, keeps: dict[str, Any], outcome: Outcome) -> int:
    """Restore the checkpoint, if there is one of this run; returns the number of finished epochs."""
    state = checkpoint.load(path, fingerprint)
    if state is None:
        return 0
    for name, part in keeps.items():
        part.load_state_dict(state[name])
    outcome.curve = state["curve"]
    restore_random_state(state["random"])
    log.info("resumed after epoch %d", state["epoch"])
    return int(state["epoch"])


def _line(epoch: int, epochs: int, train: dict[str, float], valid: Scores, benchmark: Benchmark) -> str:
    scores = "  ".join(f"{t.name} {t.metrics[0]} {valid[t.name][t.metrics[0]]:.4f}" for t in benchmark.tasks)
    return f"epoch {epoch}/{epochs}  loss {sum(train.values()):.4f}  valid: {scores}"
