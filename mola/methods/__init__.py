"""Methods: how one model serves all tasks. One file each; the file's name is the method's name.

A method knows tasks and a backbone, never the benchmark; the loop knows a method only through :class:`Method`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Self

from torch import nn
from torch.nn import Parameter

from mola.types import Batch, Output, SearchSpace, Task


class Method(nn.Module, ABC):
    """Base of all methods. A subclass takes ``(tasks, backbone, *, …options)``; each option has a type and a literal
    default, the paper's.

    tasks:    the T tasks, in the order that ``Batch.task`` counts.
    backbone: each call builds a new feature extractor (B, C, H, W) → (B, F), or (B, F, h, w) where there are dense
              tasks; ``Heads`` takes both. Build it before anything else, so that methods which run with one seed start
              from the same shared weights.
    """

    search_space: ClassVar[SearchSpace] = {}  # what tuning may change, beside the knobs that all methods share
    frozen: tuple[nn.Module, ...] = ()  # always in evaluation mode: statistics and dropout rest with the weights

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.task_names = tuple(task.name for task in tasks)

    @abstractmethod
    def forward(self, batch: Batch) -> Output:
        """Predictions for the tasks present in the batch."""

    @abstractmethod
    def shared_parameters(self) -> list[Parameter]:
        """The parameters that the losses of all tasks reach; balancers combine gradients there."""

    def train(self, mode: bool = True) -> Self:
        """As torch's, but for what is frozen."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def own_parameters(self) -> list[Parameter]:
        """All other parameters."""
        shared = set(self.shared_parameters())
        return [p for p in self.parameters() if p not in shared]

    def parts(self) -> Mapping[str, tuple[nn.Module, tuple[str, ...]]]:
        """What is selected by itself: name → (module, the tasks whose validation score picks its epoch). One part,
        unless the method is several models.
        """
        return {"model": (self, self.task_names)}
