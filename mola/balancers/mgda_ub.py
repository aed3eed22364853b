"""MGDA-UB: MGDA on the gradients of the shared features, an upper bound, in one pass through the backbone.

Source: Sener and Koltun 2018, arXiv 1810.04650, Section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from mola.balancers._features import OverFeatures
from mola.balancers.mgda import MGDA
from mola.types import Task


class MGDAUB(OverFeatures, MGDA):
    """α = argmin ‖Σ_t α_t ∂L_t/∂Z‖² over the simplex; normalisation, and what heads get, as in ``mgda``."""

    def __init__(
        self,
        tasks: Sequence[Task] = (),
        device: torch.device | None = None,
        *,
        normalisation: Literal["none", "l2", "loss", "loss+"] = "none",
    ) -> None:
        super().__init__(tasks, device, normalisation=normalisation)
