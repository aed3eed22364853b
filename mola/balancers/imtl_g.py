"""IMTL-G: the combination whose projections onto all the tasks' gradients are equal.

Source: Liu et al. 2021, Towards Impartial Multi-task Learning (ICLR).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mola.balancers._jacobian import GramianWeighting

RANK = 1e-6  # fp32 gradients decide nothing below it


class IMTLG(GramianWeighting):
    """d·g_t/‖g_t‖ equal for all t, Σ_t α_t = 1 (α_t may be negative): α_t ∝ (C⁺ 1)_t / ‖g_t‖, C the gradients' cosines.

    The pseudo-inverse lets gradients depend on each other; the paper's inverse exists otherwise only. It is taken of
    the cosines, so that a small gradient is not mistaken for one that depends on the others.
    α = 0 where the solutions sum to nothing, as for two opposite gradients.
    """

    size = "mean"

    def weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """The closed form, in double."""
        gramian = gramian.double()
        norms = gramian.diagonal().sqrt()
        cosines = gramian / torch.outer(norms, norms)
        v = torch.linalg.pinv(cosines, rtol=RANK, hermitian=True).sum(1) / norms
        total = v.sum()
        return torch.zeros_like(v) if total.abs() < RANK * (1 / norms).sum() else v / total
