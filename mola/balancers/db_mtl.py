"""DB-MTL: logarithms of the losses, and gradients of one length, the longest's.

Source: Lin et al. 2023, Dual-Balancing for Multi-Task Learning, arXiv 2308.12029, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor
from torch.nn import Parameter

from mola.balancers._base import total_of
from mola.balancers._jacobian import Jacobian
from mola.types import Range, SearchSpace, Task

EPSILON = 1e-8  # the paper's, against log 0 and ‖g‖ = 0


class DBMTL(Jacobian):
    """d = max_k ‖ĝ_k‖ Σ_t ĝ_t/‖ĝ_t‖; ĝ_t ← b ĝ_t + (1 − b) ∇ log L_t, b = beta / n^sigma at the task's n-th batch,
    from ĝ_t = 0.

    With averages a checkpoint holds T copies of the shared gradient. Own parameters follow ∇ log L_t, as published.
    """

    class Options(Jacobian.Options):
        beta: float = Field(0.9, ge=0, le=1, description="how much of the average stays; 0 keeps none")
        sigma: NonNegativeFloat = Field(0.5, description="how fast b falls")

    options: Options
    size = "logarithms"
    search_space: ClassVar[SearchSpace] = {"beta": Range(0.0, 0.99), "sigma": Range(0.1, 1.0)}

    def __init__(self, tasks: Sequence[Task], device: torch.device | None, options: Options) -> None:
        super().__init__(tasks, device, options)
        self.counts: dict[str, int] = {}  # n

    def backward(
        self,
        losses: Mapping[str, Tensor],
        aux_loss: Tensor | None,
        shared: list[Parameter],
        rest: list[Parameter],
        features: Tensor | None = None,
    ) -> None:
        """As for any Jacobian, of the losses' logarithms. A benchmark of one task: plain training."""
        if self.alone(losses):
            torch.autograd.backward(total_of(losses.values(), aux_loss))
            return
        super().backward({name: (loss + EPSILON).log() for name, loss in losses.items()}, aux_loss, shared, rest)

    def combine(self, matrix: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """ĝ (T, P) of all tasks of the benchmark, summed over those present at one length."""
        norms = torch.linalg.vector_norm(matrix, dim=1)
        present = torch.tensor([name in losses for name in self.names], device=norms.device)
        combined: Tensor = (norms[present].max() / (norms + EPSILON) * present) @ matrix
        return combined

    def _matrix(self, names: Sequence[str], columns: int, like: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """G holds the averages themselves: a row for every task, which waits where the task is absent."""
        kept = self._kept
        if kept is None or kept.shape[1] != columns or kept.device != like.device:
            self._kept = kept = like.new_zeros((len(self.names), columns))
        for name in names if self.options.beta else ():
            self.counts[name] = self.counts.get(name, 0) + 1
        return kept, [kept[self.names.index(name)] for name in names]

    def _put(self, name: str, place: Tensor, gradient: Tensor | None) -> None:
        beta, sigma = self.options.beta, self.options.sigma
        keep = beta / self.counts[name] ** sigma if beta else 0.0
        if gradient is None:
            place.mul_(keep)
        else:
            place.lerp_(gradient.to(place), 1 - keep)

    def state_dict(self) -> dict[str, object]:
        """Averages and numbers of batches by task name."""
        rows = {} if self._kept is None else dict(zip(self.names, self._kept, strict=True))
        averages = {name: rows[name] for name in self.counts}
        return super().state_dict() | {"averages": averages, "counts": dict(self.counts)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore what :meth:`state_dict` gave."""
        super().load_state_dict(state)
        averages = cast("dict[str, Tensor]", state["averages"])
        self.counts = dict(cast("dict[str, int]", state["counts"]))
        self._kept = None
        for name, average in averages.items():
            if self._kept is None:
                self._kept = average.new_zeros((len(self.names), len(average)), device=self.device)
            self._kept[self.names.index(name)] = average
