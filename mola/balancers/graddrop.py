"""GradDrop: every coordinate follows one sign, drawn by how pure the tasks' signs are there.

Source: Chen et al. 2020, Just Pick a Sign, arXiv 2010.06808, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from mola.balancers._jacobian import Jacobian
from mola.types import Range, SearchSpace

COLUMNS = 1 << 15  # at a time: what is held between stays in a CPU's cache


class GradDrop(Jacobian):
    """P = ½ (1 + Σ_t g_t / Σ_t |g_t|) per coordinate, U uniform; d sums the positive g_t where P > U, the negative
    where P < U, and ``leak`` of the others.

    TorchJD's, the same formula task by task, costs several times as much.
    Differs from the original: it acts on the gradients of the shared parameters (as TorchJD and LibMTL's plain
    setting), where the paper's layer acts on those of one activation, times its sign.
    """

    class Options(Jacobian.Options):
        leak: float = Field(0.0, ge=0, le=1, description="how much of the other sign's gradients stays, for all tasks")

    options: Options
    size = "sum"
    search_space: ClassVar[SearchSpace] = {"leak": Range(0.0, 1.0)}

    def combine(self, matrix: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """U is drawn from torch's generator of the gradients' device, which a checkpoint holds."""
        return torch.cat([dropped(part, self.options.leak) for part in torch.split(matrix, COLUMNS, dim=1)])


def dropped(matrix: Tensor, leak: float) -> Tensor:
    """Some columns of G (T, n) → (n,). With s = Σ_t g_t and a = Σ_t |g_t|, the positive g_t sum to (a + s) / 2, the
    negative to (s − a) / 2, and P > U where s > (2 U − 1) a: half as many passes as with clamped copies.
    """
    total, size = matrix[0].clone(), matrix[0].abs()
    scratch = torch.empty_like(total)
    for row in matrix[1:]:
        total += row
        size += torch.abs(row, out=scratch)
    margin = torch.addcmul(total, scratch.uniform_(-1, 1), size, value=-1, out=scratch)
    return total.mul_((1 + leak) / 2).add_(size.copysign_(margin), alpha=(1 - leak) / 2)
