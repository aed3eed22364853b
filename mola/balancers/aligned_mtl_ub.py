"""Aligned-MTL-UB: Aligned-MTL on the gradients of the shared features, in one pass through the backbone.

Source: Senushkin et al. 2023, Independent Component Alignment for Multi-Task Learning (CVPR).
"""

from __future__ import annotations

from mola.balancers._features import OverFeatures
from mola.balancers.aligned_mtl import AlignedMTL


class AlignedMTLUB(OverFeatures, AlignedMTL):
    """α as in ``aligned_mtl``, with ∂L_t/∂Z for the rows of G; so is ``scale``."""
