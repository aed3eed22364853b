"""GradDrop: every coordinate follows one sign, drawn by how pure the tasks' signs are there.

Source: Chen et al. 2020, Just Pick a Sign, arXiv 2010.06808, Algorithm 1; by TorchJD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import NonNegativeFloat
from torch import Tensor
from torchjd.aggregation import GradDrop as Drop

from mola.balancers._jacobian import Jacobian
from mola.types import BadInput, Task

COLUMNS = 1 << 20  # at a time: TorchJD's holds copies of what it is given


class GradDrop(Jacobian):
    """P = ½ (1 + Σ_t g_t / Σ_t |g_t|) per coordinate, U uniform; d sums the positive g_t where P > U, the negative
    where P < U, and ``leak`` of the others.

    leak: 0 to 1, for all tasks.
    Differs from the original: it acts on the gradients of the shared parameters (as TorchJD and LibMTL's plain
    setting), where the paper's layer acts on those of one activation, times its sign.
    """

    def __init__(
        self, tasks: Sequence[Task] = (), device: torch.device | None = None, *, leak: NonNegativeFloat = 0.0
    ) -> None:
        super().__init__(tasks, device)
        if leak > 1:
            raise BadInput(f"balancer.leak: expected at most 1, found {leak}")
        self.leak = leak

    def combine(self, matrix: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """U is drawn from torch's generator of the gradients' device, which a checkpoint holds."""
        drop = Drop(leak=matrix.new_full((len(matrix),), self.leak))
        return torch.cat([drop(part) for part in torch.split(matrix, COLUMNS, dim=1)])
