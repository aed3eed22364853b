"""A batch in parts, whose gradients add up to the batch's: what a run does when a batch does not fit into memory.

Every part has every n-th sample, and so every task that has enough of them. The losses are weighted so that their sum
is the batch's mean loss. What looks at several samples at once sees a part where it saw the batch: BatchNorm and
auxiliary losses such as TwD are another computation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mola.losses import counted, samples_counted
from mola.types import Batch, Task


def parts_of(batch: Batch, number: int) -> Iterator[Batch]:
    """The batch in so many parts, none of them empty."""
    for first in range(min(number, len(batch.x))):
        chosen = slice(first, None, number)
        pixels = None if batch.pixels is None else batch.pixels[chosen]
        if batch.task is None:
            y = {name: target[chosen] for name, target in batch.y.items()}
            yield replace(batch, x=batch.x[chosen], y=y, pixels=pixels)
            continue
        rows = torch.arange(len(batch.task))
        y = {}
        for index, name in enumerate(batch.tasks):
            # places in the batch of the task's samples, in the order of its targets
            within = (rows[batch.task == index] % number == first).nonzero().flatten()
            if name in batch.y and len(within):
                y[name] = batch.y[name][within.to(batch.y[name].device)]
        yield replace(batch, x=batch.x[chosen], task=batch.task[chosen], y=y, pixels=pixels)


def weights(tasks: Sequence[Task], batch: Batch, part: Batch, share: bool) -> dict[str, Tensor]:
    """What a part's mean loss of every task counts in the batch's, () by name.

    share: as in :func:`mola.losses.task_losses`.
    """
    result = {}
    for task in tasks:
        if task.name in part.y:
            known, here = counted(task, batch.y[task.name]), counted(task, part.y[task.name])
            of_batch = samples_counted(task, known) / len(batch.x) if share else 1.0
            result[task.name] = of_batch * here.sum() / known.sum().clamp(min=1)
    return result


def weighted(losses: Mapping[str, Tensor], factors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Losses () times what they count, by name."""
    return {name: loss * factors[name] for name, loss in losses.items()}
