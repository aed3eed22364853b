"""What measures a task over a whole split, batch by batch."""

from __future__ import annotations

from collections.abc import Callable

from mola.metrics import classes, dense
from mola.metrics.base import Accumulator
from mola.types import Kind, Task

KINDS: dict[Kind, Callable[[Task], Accumulator]] = {
    "classes": classes.Classes,
    "segmentation": dense.Segmentation,
    "depth": dense.Depth,
    "normals": dense.Normals,
}


def accumulator(task: Task) -> Accumulator:
    """An empty accumulator for a task of any kind."""
    return KINDS[task.kind](task)
