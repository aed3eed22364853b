"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, StepLR

from mola.sections import Training


def make_optimizer(training: Training, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """One optimiser over everything (the released router arms step shared parameters with two)."""
    rate, decay = training.lr, training.weight_decay
    if training.optimizer == "sgd":
        # not fused: torch's fused SGD fails on a parameter whose first gradient comes late
        return torch.optim.SGD(parameters, rate, momentum=training.momentum, weight_decay=decay)
    kind = torch.optim.AdamW if training.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, rate, weight_decay=decay, fused=True)


def make_schedule(training: Training, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """The schedule of the learning rate, stepped once after every epoch."""
    if training.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=training.epochs)
    if training.schedule == "step":
        return StepLR(optimizer, training.step_epochs, training.step_gamma)
    return LambdaLR(optimizer, lambda _: 1.0)
