"""The interface of all accumulators."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from mola.types import Task


class Accumulator(ABC):
    """The metrics of one task over a split that comes in batches, in any order and of any sizes."""

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """A batch on any device: ``Output.predictions`` and ``Batch.y`` of the task, see :mod:`mola.types`."""

    def compute(self) -> dict[str, float]:
        """The task's metrics over all that was seen. NaN where a prediction was not finite, and where nothing
        counted.
        """
        measured = self.measured()
        return {name: measured[name] for name in self.task.metrics}

    @abstractmethod
    def measured(self) -> dict[str, float]:
        """Every metric of this kind of task."""
