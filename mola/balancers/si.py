"""Scale-invariant losses: the sum of the losses' logarithms.

Source: "SI" in the paper's tables and a baseline of Navon et al. 2022, arXiv 2202.01017.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mola.balancers._base import total_of
from mola.balancers._weighting import LossWeighting

SMALLEST = 1e-8  # a loss of 0 has no logarithm


class SI(LossWeighting):
    """L = Σ_t log L_t: a loss times any constant gives the same gradient.

    Differs from the original: a loss below 1e-8 has no gradient, where the original has an infinite one.
    """

    size = "logarithms"

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Σ_t log L_t."""
        return total_of(loss.clamp(min=SMALLEST).log() for loss in losses.values())
