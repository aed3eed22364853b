"""Tasks and batches that are drawn, for parts whose benchmark is not prepared or does not matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn

from mola.losses import counted
from mola.metrics import names
from mola.metrics.kinds import KINDS
from mola.models.backbones import builder
from mola.types import Batch, Task

# of different numbers of classes
TASKS = tuple(Task(name, "classes", classes, names("classes")) for name, classes in (("a", 2), ("b", 3), ("c", 5)))
SIDE = 32


def batch_of(tasks: Sequence[Task], every: bool = False, each: int = 4) -> Batch:
    """Normal noise (B, 3, 32, 32) with labels: ``each`` samples of every task in mixed order; or where ``every`` sample
    has all tasks, as many samples.
    """
    generator = torch.Generator().manual_seed(0)
    number = each if every else each * len(tasks)
    x = torch.randn(number, 3, SIDE, SIDE, generator=generator)
    y = {}
    for task in tasks:
        size = (each, SIDE, SIDE) if KINDS[task.kind].dense else (each,)
        y[task.name] = torch.randint(task.outputs, size, generator=generator)
    order = None if every else torch.arange(len(tasks)).repeat(each)
    return Batch(x, order, y, tuple(task.name for task in tasks))


def with_targets(tasks: Sequence[Task], batch: Batch) -> Batch:
    """The batch with a target wherever none is known, so that every loss says something; dense ones as they are. Those
    of a regression are far from all predictions: beyond one standard deviation errors of two signs may cancel out.
    """
    y = dict(batch.y)
    for task in tasks:
        if task.name not in y or KINDS[task.kind].dense:
            continue
        if task.kind == "regression":
            y[task.name] = torch.full_like(y[task.name], task.mean + 100 * task.std)
        else:
            y[task.name] = torch.where(counted(task, y[task.name]), y[task.name], torch.zeros_like(y[task.name]))
    return replace(batch, y=y)


def small_backbone() -> Callable[[], nn.Module]:
    """The builder of a backbone of four stages that are live from the start."""
    return builder("test_resnet", {"zero_init_last": False})
