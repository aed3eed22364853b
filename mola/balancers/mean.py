"""Mean of the losses: every task weighs 1/T.

Source: equal weighting as in Lin et al. 2022, arXiv 2111.10603; under Adam the sum but for the auxiliary loss's weight.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mola.balancers._base import total_of
from mola.balancers._weighting import LossWeighting


class Mean(LossWeighting):
    """L = 1/T Σ_t L_t over the T tasks present."""

    size = "mean"

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """1/T Σ_t L_t."""
        return total_of(losses.values()) / len(losses)
