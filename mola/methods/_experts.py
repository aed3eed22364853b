"""What methods share whose experts are whole backbones: the input of their gates, and mixtures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

GATE_SIDE = 8  # pixels
GATE_INPUTS = 3 * GATE_SIDE**2


def gate_input(x: Tensor) -> Tensor:
    """(B, 3, H, W) → (B, 192), pooled to 8×8 pixels so that the gates' size does not grow with the image's."""
    return F.adaptive_avg_pool2d(x, GATE_SIDE).flatten(1)


def mixture(weights: Tensor, features: Tensor) -> Tensor:
    """(B, E) weights and (B, E, …) features of the experts → (B, …)."""
    return torch.einsum("be,be...->b...", weights, features)
