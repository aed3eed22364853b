"""Random loss weighting: a new draw of weights for every batch.

Source: Lin et al. 2022, Reasonable Effectiveness of Random Weighting, arXiv 2111.10603, Algorithm 2; by TorchJD.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torchjd.scalarization import Random

from mola.balancers._weighting import LossWeighting


class RLW(LossWeighting):
    """L = Σ_t w_t L_t, w = softmax of a standard normal draw per task present; the weights sum to 1, as published."""

    size = "mean"
    draws = True

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Draws from torch's generator of the losses' device, which a checkpoint holds."""
        total: Tensor = Random()(torch.stack(list(losses.values())))
        return total
