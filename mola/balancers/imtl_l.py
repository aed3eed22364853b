"""IMTL-L: every task learns a scale, so that the scaled losses come to the same size.

Source: Liu et al. 2021, Towards Impartial Multi-task Learning (ICLR).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mola.balancers._base import total_of
from mola.balancers._learnt import Learnt


class IMTLL(Learnt):
    """L = Σ_t e^(s_t) L_t − s_t, s_t learnt from 0.

    TorchJD's is the same formula, but refuses a batch that lacks a task.
    """

    size = "sum"

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Σ_t e^(s_t) L_t − s_t."""
        return total_of(torch.exp(self.s[name]) * loss - self.s[name] for name, loss in losses.items())
