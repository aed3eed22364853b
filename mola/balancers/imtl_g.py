"""IMTL-G: the combination whose projections onto all the tasks' gradients are equal.

Source: Liu et al. 2021, Towards Impartial Multi-task Learning (ICLR); by TorchJD.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torchjd.aggregation import IMTLGWeighting

from mola.balancers._jacobian import GramianWeighting


class IMTLG(GramianWeighting):
    """d·g_t/‖g_t‖ equal for all t, Σ_t α_t = 1 (α_t may be negative).

    TorchJD takes the pseudo-inverse, so gradients may depend on each other; the paper's inverse exists otherwise only.
    """

    def weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """In the gradients' precision: the rank is decided by it."""
        alpha: Tensor = IMTLGWeighting()(gramian)
        return alpha
