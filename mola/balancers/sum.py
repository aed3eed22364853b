"""Sum of the losses: every task weighs 1.

Source: the paper's setting for all its models; a well-tuned sum is a strong baseline (Kurin et al. 2022, arXiv
2201.04122).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mola.balancers._base import total_of
from mola.balancers._weighting import LossWeighting


class Sum(LossWeighting):
    """L = Σ_t L_t over the tasks present, plus the method's auxiliary loss."""

    size = "sum"
    additive = True

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Σ_t L_t."""
        return total_of(losses.values())
