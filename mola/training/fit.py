"""The training loop. It knows no method and no benchmark by name."""

from __future__ import annotations

import gc
import logging
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from mola.methods import Method
from mola.metrics import undefined
from mola.sections import Training
from mola.seeds import derive
from mola.training import single_values
from mola.training.checkpoint import Checkpoint, Due, Position, resumed
from mola.training.epoch_losses import EpochLosses
from mola.training.evaluate import Scores, evaluate
from mola.training.loading import load
from mola.training.optim import make_optimizer, make_schedule
from mola.training.probes import Probe
from mola.training.selection import Selection
from mola.training.step import TrainingStep
from mola.training.stopping import Request, requests
from mola.types import Balancer, Batch, Benchmark, Split

log = logging.getLogger(__name__)
Curve = list[dict[str, Any]]  # an entry an epoch, with the keys of mola.experiment.record.Epoch
OnStep = Callable[[int, int], None]  # steps done, steps in all
OnEpoch = Callable[[Curve], None]  # the curve so far


@dataclass
class Outcome:
    """What a training gives its record; after an error, what it had until then.

    selected: part of the method → the selected epoch. valid, test: the scores there; test is read once, after
    selection. phase, epoch, step: what it is at, counted from 1. resumed, parts: as in a checkpoint's position.
    """

    curve: Curve = field(default_factory=list)
    selected: dict[str, int] = field(default_factory=dict)
    valid: Scores = field(default_factory=dict)
    test: Scores = field(default_factory=dict)
    phase: str = "start"
    epoch: int = 0
    step: int = 0
    resumed: int = 0
    parts: int = 1

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
    outcome: Outcome | None = None,
) -> Outcome:
    """Train, select an epoch on valid, read test once.

    path:     the checkpoint, written as ``training.checkpoint`` says; a run with the same fingerprint continues from
              it, bit for bit.
    probes:   measure, and change nothing.
    on_epoch: called after every epoch, and with what a checkpoint brought; what it raises ends the training.
    test:     False leaves the test split alone, as tuning must.
    outcome:  is filled and returned; whoever gives one knows what there was when an error ended the training.

    Where a batch does not fit into memory, the run goes on from its checkpoint with batches in twice as many parts, if
    the balancer is additive. Raises Diverged when a loss is not finite; OSError, above all where the disk is full;
    Stopped after a signal, once a checkpoint is written.
    """
    outcome = outcome if outcome is not None else Outcome()
    run = _Run(
        method, balancer, benchmark, training, seed, device, path, fingerprint, probes, on_step, on_epoch, outcome
    )
    run.begin()
    while not run.completed(test):
        run.halve()
    return outcome


@dataclass
class _Run:
    """One training, step by step. See :func:`fit`."""

    method: Method
    balancer: Balancer
    benchmark: Benchmark
    training: Training
    seed: int
    device: torch.device
    path: Path
    fingerprint: str
    probes: Sequence[Probe]
    on_step: OnStep
    on_epoch: OnEpoch
    outcome: Outcome

    def __post_init__(self) -> None:
        method, balancer, benchmark, training = self.method, self.balancer, self.benchmark, self.training
        self.amp = training.amp and self.device.type == "cuda"
        self.optimizer = make_optimizer(training, [*method.parameters(), *balancer.parameters()], method.parts())
        self.schedule = make_schedule(training, self.optimizer)
        share = training.loss_weight == "share"
        self.step = TrainingStep(method, balancer, self.optimizer, benchmark.tasks, share=share, amp=self.amp)
        self.selection, self.losses = Selection(method, benchmark.tasks), EpochLosses(self.device)
        parts = {
            "method": method,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "balancer": balancer,
            "selection": self.selection,
            "losses": self.losses,
            **{probe.name: probe for probe in self.probes},
        }
        self.checkpoint, self.due = Checkpoint(self.path, self.fingerprint, parts), Due(training.checkpoint)
        self.per_pass = benchmark.steps(size=training.batch_size, sampling=training.sampling)
        self.position = Position()
        self.is_guarded = single_values.may_occur(training, len(benchmark.tasks))
        if self.is_guarded:
            single_values.guard(method)

    def begin(self) -> None:
        """Go on from a checkpoint, and write one: it counts how often, and shows that there is room, and its cost."""
        self.position, self.outcome.curve = resumed(self.checkpoint)
        self.take_parts(self.position.parts)
        self.outcome.resumed = self.position.resumed
        self.save()
        self.on_epoch(self.outcome.curve)

    def completed(self, test: bool) -> bool:
        """Train and score; returns False where a batch does not fit into memory and can be made smaller."""
        try:
            with requests() as request:
                for epoch in range(self.position.epoch, self.training.epochs):
                    self.look(epoch, self.train(epoch, request))
                    self.after_epoch(epoch + 1, request)
                self.finish(test)
                if request.number:
                    # heard since the last step: the run is not recorded yet
                    self.save(request)
        except torch.OutOfMemoryError:
            if request.number:
                raise request.stopped(f"out of memory; {self.checkpoint.path} has an earlier state") from None
            if not self.can_be_halved():
                raise
            log.warning("out of memory in epoch %d, step %d", self.outcome.epoch, self.outcome.step)
            return False
        return True

    def train(self, epoch: int, request: Request) -> dict[str, Any]:
        """The steps of an epoch, from where the position is; returns its entry of the curve, without scores."""
        began, total = time.perf_counter() - self.position.seconds, self.training.epochs * self.per_epoch
        self.method.train()
        self.at("training", epoch + 1, self.position.step)
        for step, batch in enumerate(self.batches(epoch, self.position.step), self.position.step + 1):
            self.at("training", epoch + 1, step)
            self.losses.add(step, self.step(batch))
            self.on_step(epoch * self.per_epoch + step, total)
            if self.due.after_step() or request.number:
                # a state that diverged is not worth keeping
                self.losses.means(epoch + 1)
                self.position = replace(self.position, step=step, seconds=time.perf_counter() - began)
                self.save(request)
        self.balancer.end_epoch()
        lr = self.schedule.get_last_lr()[0]
        with warnings.catch_warnings():
            # that the optimiser was not called before: it was, by another process
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
            self.schedule.step()
        # reading the losses waits for the GPU, so that the clock sees its work
        train = self.losses.means(epoch + 1)
        seconds = time.perf_counter() - began
        return {"epoch": epoch + 1, "lr": lr, "steps": self.outcome.step, "train_seconds": seconds, "train": train}

    def look(self, epoch: int, entry: dict[str, Any]) -> None:
        """Validate after an epoch, select and probe."""
        self.at("validation", epoch + 1, entry["steps"])
        valid = self.scores("valid")
        self.selection.update(epoch + 1, valid)
        self.outcome.curve.append({**entry, "valid": valid})
        for probe in self.probes:
            self.at(f"the probe {probe.name}", epoch + 1, entry["steps"])
            probe.after(epoch + 1, self.method)
        tasks, train = self.benchmark.tasks, entry["train"]
        ranked = "  ".join(f"{t.name} {t.metrics[0]} {valid[t.name][t.metrics[0]]:.4f}" for t in tasks)
        log.info("epoch %d/%d  loss %.4f  valid: %s", epoch + 1, self.training.epochs, sum(train.values()), ranked)

    def after_epoch(self, finished: int, request: Request) -> None:
        """Count the epoch, and write a checkpoint where one is due."""
        self.losses.clear()
        self.position = replace(self.position, epoch=finished, step=0, seconds=0.0)
        if self.due.after_epoch() or request.number:
            self.save(request)
        self.on_epoch(self.outcome.curve)

    def finish(self, test: bool) -> None:
        """Score the selected epoch."""
        outcome = self.outcome
        self.at("selection", outcome.epoch, outcome.step)
        outcome.selected = self.selection.restore()
        outcome.valid = self.scores("valid")
        if not test:
            return
        self.at("test", outcome.epoch, outcome.step)
        outcome.test = self.scores("test")
        for task in self.benchmark.tasks:
            values = outcome.test[task.name]
            known = values.keys() - {metric.name for metric in undefined(task, values)}
            if bad := [name for name in values if name in known and not math.isfinite(values[name])]:
                raise ArithmeticError(f"test {', '.join(bad)} of {task.name} is not finite at the selected epoch")
        for probe in self.probes:
            probe.selected(self.method)

    def save(self, request: Request | None = None) -> None:
        """Write a checkpoint. Raises Stopped where a signal asked for it."""
        began = time.perf_counter()
        self.checkpoint.save(self.position, self.outcome.curve)
        self.due.written(time.perf_counter() - began)
        if request is not None and request.number:
            raise request.stopped(f"{self.position.words()}; {self.checkpoint.path} has its state")

    def can_be_halved(self) -> bool:
        """Whether batches in twice as many parts have the same update."""
        additive = getattr(self.balancer, "additive", False) or len(self.benchmark.tasks) == 1
        return additive and 2 * self.outcome.parts <= self.training.batch_size

    def halve(self) -> None:
        """Go back to the last checkpoint, with batches in twice as many parts."""
        parts = 2 * self.outcome.parts
        self.optimizer.zero_grad(set_to_none=True)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if (saved := self.checkpoint.resume()) is None:
            raise OSError(f"{self.checkpoint.path}: expected the checkpoint of this run, found none")
        self.position, self.outcome.curve = saved
        self.take_parts(parts)
        log.warning("goes on after epoch %d with batches in %d parts", self.position.epoch, parts)
        self.save()

    def take_parts(self, parts: int) -> None:
        """Compute batches in so many parts from here on."""
        self.position = replace(self.position, parts=parts)
        self.step.parts = self.outcome.parts = parts
        if parts > 1 and not self.is_guarded:
            single_values.guard(self.method)
            self.is_guarded = True

    def at(self, phase: str, epoch: int, step: int) -> None:
        """Say what is done now."""
        self.outcome.phase, self.outcome.epoch, self.outcome.step = phase, epoch, step

    @property
    def per_epoch(self) -> int:
        """The steps of an epoch."""
        return self.training.passes * self.per_pass

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The training batches of an epoch from number ``start`` on."""
        training = self.training
        passes, start = divmod(start, self.per_pass)
        for each in range(epoch * training.passes + passes, (epoch + 1) * training.passes):
            yield from load(
                self.benchmark, "train", self.device, size=training.batch_size, seed=derive(self.seed, "data"),
                epoch=each, sampling=training.sampling, start=start,
            )  # fmt: skip
            start = 0

    def scores(self, split: Split) -> Scores:
        """The metrics of a split."""
        size = max(1, 4 * self.training.batch_size // self.step.parts)
        return evaluate(self.method, self.benchmark, split, size=size, device=self.device, amp=self.amp)
