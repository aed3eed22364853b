"""What all balancers share: the names of the tasks, and no state unless a balancer keeps some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from mola.options import Configurable
from mola.options import Options as AnyOptions
from mola.types import Batch, SearchSpace, Task

R = TypeVar("R")
# anything, and the losses by task
Computed = tuple[R, Mapping[str, Tensor]]
Cost = Literal["weighting", "features", "jacobian"]


class Base(Configurable):
    """A stateless balancer. A subclass that has options nests them; each has a type and its published default.

    tasks:  the T tasks of the benchmark; a batch may lack some of them.
    device: where the losses will be, and where the balancer keeps its tensors.
    """

    class Options(AnyOptions):
        """Nothing to choose."""

    search_space: ClassVar[SearchSpace] = {}  # what tuning may change
    cost: ClassVar[Cost]  # how many passes a step takes, and through what
    size: ClassVar[Literal["sum", "mean", "logarithms"] | None] = None  # of the update; None: a size of its own
    # whether it looks at the shared parameters apart from the others
    needs_shared: ClassVar[bool] = False
    # whether the updates of a batch's parts, losses weighted by size, add up to that of the batch
    additive: ClassVar[bool] = False
    draws: ClassVar[bool] = False  # whether an update depends on random numbers, drawn in the order of the tasks

    def __init__(self, tasks: Sequence[Task], device: torch.device | None, options: Options) -> None:
        self.names = tuple(task.name for task in tasks)
        self.device = device
        self.options = options

    @classmethod
    def create(cls, tasks: Sequence[Task] = (), device: torch.device | None = None, **options: Any) -> Self:
        """The balancer with these options by name. Raises pydantic's ValidationError for a wrong one."""
        return super().create(tasks, device, **options)

    def forward(
        self, compute: Callable[[], Computed[R]], model: nn.Module, shared: list[Parameter], batch: Batch
    ) -> Computed[R]:
        """See :meth:`mola.types.Balancer.forward`."""
        return compute()

    @property
    def passes(self) -> str | None:
        """In words, how many backward passes the gradients of the tasks took; None where a balancer needs none."""
        return None

    def backward(
        self,
        losses: Mapping[str, Tensor],
        aux_loss: Tensor | None,
        shared: list[Parameter],
        rest: list[Parameter],
        features: Tensor | None = None,
    ) -> None:
        """See :meth:`mola.types.Balancer.backward`."""
        raise NotImplementedError

    def alone(self, losses: Mapping[str, Tensor]) -> bool:
        """Whether there is nothing to balance: the only task of the benchmark, not the only one of a batch."""
        return len(losses) == 1 and len(self.names) < 2

    def parameters(self) -> list[Parameter]:
        """None: nothing is learnt."""
        return []

    def end_epoch(self) -> None:
        """Nothing to update."""

    def state_dict(self) -> dict[str, object]:
        """Stateless."""
        return {}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Stateless."""


def total_of(losses: Iterable[Tensor], aux_loss: Tensor | None = None) -> Tensor:
    """Σ_t L_t, with the auxiliary loss if there is one; () each."""
    parts = list(losses) if aux_loss is None else [*losses, aux_loss]
    return torch.stack(parts).sum()


def accumulate(parameter: Parameter, gradient: Tensor) -> None:
    """Add to ``.grad`` as a backward pass does: in the parameter's own memory layout, as fused optimisers read it."""
    if gradient.stride() != parameter.stride():
        gradient = torch.empty_like(parameter).copy_(gradient)
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
