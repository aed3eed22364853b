"""GradVac: gradients are turned towards each other until they are as similar as they were on average.

Source: Wang et al. 2021, Gradient Vaccine, arXiv 2010.05874, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor

from mola.balancers._jacobian import GramianWeighting
from mola.types import Range, SearchSpace, Task

SMALLEST = 1e-8


class GradVac(GramianWeighting):
    """For every j in random order, with φ = cos(g_i, g_j): where φ < φ̂_ij,
    g_i ← g_i + ‖g_i‖ (φ̂ √(1−φ²) − φ √(1−φ̂²)) / (‖g_j‖ √(1−φ̂²)) g_j; then φ̂_ij ← (1 − beta) φ̂_ij + beta φ.
    d = Σ_i g_i; φ̂ starts at 0, and is kept by pair of task names.

    LibMTL and TorchJD take 0.5 for beta. TorchJD's has the same formula, but forgets φ̂ when a batch lacks a task. One
    group, the whole of the shared parameters, where the paper's best variant groups by layer.
    """

    class Options(GramianWeighting.Options):
        beta: float = Field(0.01, ge=0, le=1, description="how fast φ̂ follows; the paper's")

    options: Options
    size = "sum"
    draws = True
    search_space: ClassVar[SearchSpace] = {"beta": Range(0.001, 0.5, log=True)}

    def __init__(self, tasks: Sequence[Task], device: torch.device | None, options: Options) -> None:
        super().__init__(tasks, device, options)
        # φ̂
        self.target = torch.zeros(len(self.names), len(self.names), dtype=torch.float64)

    def weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """Everything follows from inner products: row i of c says which gradients g_i has become a sum of."""
        inner, target = gramian.double().numpy(), self.target.numpy()
        at = [self.names.index(name) for name in losses]
        c = torch.eye(len(at), dtype=torch.float64).numpy()
        for i in range(len(at)):
            for j in torch.randperm(len(at)).tolist():
                if j == i:
                    continue
                along = inner @ c[i]  # g_i·g_k for every k
                size, other = sqrt(max(c[i] @ along, 0.0)), sqrt(inner[j, j])
                now = min(max(along[j] / max(size * other, SMALLEST), -1.0), 1.0)
                aim = target[at[i], at[j]]
                if now < aim:
                    rest = max(sqrt(1 - aim**2), SMALLEST)
                    c[i, j] += size * (aim * sqrt(1 - now**2) - now * rest) / (other * rest)
                target[at[i], at[j]] += self.options.beta * (now - aim)
        return torch.from_numpy(c.sum(0))

    def state_dict(self) -> dict[str, object]:
        """φ̂ (T, T), in the order of the tasks."""
        return super().state_dict() | {"target": self.target.clone()}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore what :meth:`state_dict` gave."""
        super().load_state_dict(state)
        self.target = cast("Tensor", state["target"]).clone()
