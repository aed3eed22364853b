"""PCGrad: of two conflicting gradients each loses its part along the other.

Source: Yu et al. 2020, Gradient Surgery for Multi-Task Learning, arXiv 2001.06782, Algorithm 1; by TorchJD.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torchjd.aggregation import PCGradWeighting

from mola.balancers._jacobian import GramianWeighting


class PCGrad(GramianWeighting):
    """g_i ← g_i − (g_i·g_j / ‖g_j‖²) g_j for every j in random order with g_i·g_j < 0; d = Σ_i g_i."""

    size = "sum"
    draws = True

    def weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """The order is drawn from torch's generator of the CPU, which a checkpoint holds."""
        alpha: Tensor = PCGradWeighting()(gramian.double())
        return alpha
