"""Optimisers and learning-rate schedules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import Parameter
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, StepLR

from mola.sections import Training
from mola.types import BadInput

Parts = Mapping[str, tuple[nn.Module, Sequence[str]]]  # see ``Method.parts``


def make_optimizer(
    training: Training, parameters: list[Parameter], parts: Parts | None = None
) -> torch.optim.Optimizer:
    """One optimiser over everything (the released router arms step shared parameters with two).

    parts: of the method, where its learning rates are by part. What belongs to none of them, such as what a balancer
           learns, takes the lowest of the rates, which none of them found too high.
    Raises BadInput where the rates are not those of the parts.
    """
    check_rates(training, parts or {})
    decay = training.weight_decay
    rate = training.lr if isinstance(training.lr, float) else min(training.lr.values())
    groups = parameters if isinstance(training.lr, float) else _groups(training.lr, parameters, parts or {})
    if training.optimizer == "sgd":
        # not fused: torch's fused SGD fails on a parameter whose first gradient comes late
        return torch.optim.SGD(groups, rate, momentum=training.momentum, weight_decay=decay)
    kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, rate, weight_decay=decay, fused=True)


def check_rates(training: Training, parts: Parts) -> None:
    """Raise BadInput where learning rates by part are not those of a method's parts."""
    if isinstance(training.lr, float):
        return
    known = ", ".join(parts)
    if unknown := [name for name in training.lr if name not in parts]:
        raise BadInput(
            f"training.lr: expected a number, or one for each of the method's parts, {known}; found {unknown[0]}"
        )
    if missing := [name for name in parts if name not in training.lr]:
        raise BadInput(
            f"training.lr: expected a number for each of the method's parts, {known}; found none for {missing[0]}"
        )


def _groups(rates: Mapping[str, float], parameters: Sequence[Parameter], parts: Parts) -> list[dict[str, Any]]:
    """A parameter group for each distinct rate, in the order of the parameters."""
    lowest = min(rates.values())
    of_part = {p: rates[name] for name, (module, _) in parts.items() for p in module.parameters()}
    groups: dict[float, list[Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(of_part.get(parameter, lowest), []).append(parameter)
    return [{"params": members, "lr": rate} for rate, members in groups.items()]


def make_schedule(training: Training, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """The schedule of the learning rate, stepped once after every epoch."""
    if training.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=training.epochs)
    if training.schedule == "step":
        return StepLR(optimizer, training.step_epochs, training.step_gamma)
    return LambdaLR(optimizer, lambda _: 1.0)
