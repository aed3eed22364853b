"""DB-MTL: logarithms of the losses, and gradients of one length, the longest's.

Source: Lin et al. 2023, Dual-Balancing for Multi-Task Learning, arXiv 2308.12029, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, cast

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

    beta:  0 to 1; 0 keeps no averages (they and a checkpoint hold T copies of the shared gradient otherwise).
    sigma: how fast b falls.
    Own parameters follow ∇ log L_t, as published.
    """

    search_space: ClassVar[SearchSpace] = {"beta": Range(0.0, 0.99), "sigma": Range(0.1, 1.0)}

    def __init__(
        self,
        tasks: Sequence[Task] = (),
        device: torch.device | None = None,
        *,
        beta: Annotated[float, Field(ge=0, le=1)] = 0.9,
        sigma: NonNegativeFloat = 0.5,
    ) -> None:
        super().__init__(tasks, device)
        self.beta, self.sigma = beta, sigma
        self.averages: dict[str, Tensor] = {}  # ĝ_t (P,)
        self.counts: dict[str, int] = {}  # n

    def backward(
        self,
        losses: Mapping[str, Tensor],
        penalty: Tensor | None,
        shared: list[Parameter],
        own: list[Parameter],
        features: Tensor | None = None,
    ) -> None:
        """As for any Jacobian, of the losses' logarithms. A benchmark of one task: plain training."""
        if len(self.names) == 1:
            torch.autograd.backward(total_of(losses.values(), penalty))
            return
        super().backward({name: (loss + EPSILON).log() for name, loss in losses.items()}, penalty, shared, own)

    def combine(self, matrix: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """Moves the averages of the tasks present, and sums them at one length."""
        for name, row in zip(losses, matrix, strict=True):
            self._average(name, row)
        norms = torch.linalg.vector_norm(matrix, dim=1)
        combined: Tensor = (norms.max() / (norms + EPSILON)) @ matrix
        return combined

    def _average(self, name: str, row: Tensor) -> None:
        """Replaces the row by its average, in place."""
        if not self.beta:
            return
        self.counts[name] = self.counts.get(name, 0) + 1
        keep = self.beta / self.counts[name] ** self.sigma
        row.mul_(1 - keep)
        if name in self.averages:
            row.add_(self.averages[name], alpha=keep)
            self.averages[name].copy_(row)
        else:
            self.averages[name] = row.clone()

    def state_dict(self) -> dict[str, object]:
        """Averages and numbers of batches by task name."""
        return {"averages": dict(self.averages), "counts": dict(self.counts)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore what :meth:`state_dict` gave."""
        averages = cast("dict[str, Tensor]", state["averages"])
        self.averages = {name: average.to(self.device, copy=True) for name, average in averages.items()}
        self.counts = dict(cast("dict[str, int]", state["counts"]))
