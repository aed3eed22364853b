"""MGDA-UB: MGDA on the gradients of the shared features, an upper bound, in one pass through the backbone.

Source: Sener and Koltun 2018, arXiv 1810.04650, Section 3.3.
"""

from __future__ import annotations

from mola.balancers._features import OverFeatures
from mola.balancers.mgda import MGDA


class MGDAUB(OverFeatures, MGDA):
    """α = argmin ‖Σ_t α_t ∂L_t/∂Z‖² over the simplex; normalisation, and what heads get, as in ``mgda``."""
