"""Uncertainty weighting: every task learns the variance of its noise.

Source: Kendall, Gal and Cipolla 2018, arXiv 1705.07115, Equations 7 and 10.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mola.balancers._base import total_of
from mola.balancers._learnt import Learnt
from mola.types import Task


class UW(Learnt):
    """L = Σ_t e^(−s_t) L_t + s_t/2 for classes and segmentation, Σ_t ½ e^(−s_t) L_t + s_t/2 for the others; s_t is
    log σ_t², learnt from 0.

    LibMTL and TorchJD halve the loss of every kind of task, and LibMTL starts at −0.5; weight decay, where the run has
    it, acts on s as well.
    """

    size = "sum"

    def __init__(self, tasks: Sequence[Task], device: torch.device | None, options: Learnt.Options) -> None:
        super().__init__(tasks, device, options)
        self.factor = {task.name: 1.0 if task.kind in ("classes", "segmentation") else 0.5 for task in tasks}

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Σ_t f_t e^(−s_t) L_t + s_t/2."""
        return total_of(self.factor[n] * torch.exp(-self.s[n]) * loss + self.s[n] / 2 for n, loss in losses.items())
