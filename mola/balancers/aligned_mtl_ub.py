"""Aligned-MTL-UB: Aligned-MTL on the gradients of the shared features, in one pass through the backbone.

Source: Senushkin et al. 2023, Independent Component Alignment for Multi-Task Learning (CVPR).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from mola.balancers._features import OverFeatures
from mola.balancers.aligned_mtl import AlignedMTL
from mola.types import Task


class AlignedMTLUB(OverFeatures, AlignedMTL):
    """α as in ``aligned_mtl``, with ∂L_t/∂Z for the rows of G; so is ``scale``."""

    def __init__(
        self,
        tasks: Sequence[Task] = (),
        device: torch.device | None = None,
        *,
        scale: Literal["min", "median", "rmse"] = "min",
    ) -> None:
        super().__init__(tasks, device, scale=scale)
