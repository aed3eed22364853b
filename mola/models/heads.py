"""Heads: what turns features into each task's prediction."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mola.types import BadInput, Batch, Task


class Heads(nn.Module):
    """One linear head per task (Section 3 of the paper: a classifier per task on the shared features)."""

    def __init__(self, tasks: Sequence[Task], features: int) -> None:
        super().__init__()
        for task in tasks:
            if task.kind != "classes":
                raise BadInput(f"task '{task.name}': this method has heads for classes, found {task.kind}")
        self.tasks = nn.ModuleDict({task.name: nn.Linear(features, task.outputs) for task in tasks})

    def forward(self, features: Tensor, batch: Batch) -> dict[str, Tensor]:
        """(B, F) features of the whole batch → per task present, by name, (B_t, K)."""
        return {name: self.tasks[name](features[batch.rows(name)]) for name in batch.y}
