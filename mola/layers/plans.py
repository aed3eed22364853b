"""Execution plans: how an adapted layer computes its output. All are exact; this file is the one place that chooses.

grouped   (index gate)   the batch is sorted by expert; one call per expert present, with W + ΔW_e.
factored  (weight gate)  y = W x + B (γ ⊙ A x): no weight per sample, no map per expert and output channel.
stacked   (weight gate, grouped convolutions)  one convolution per expert: those are cheap there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mola.layers.gates import Gate, IndexGate

if TYPE_CHECKING:
    from mola.layers.lowrank import LowRankConv2d, LowRankLinear


def convolution(layer: LowRankConv2d, x: Tensor, gate: Gate) -> Tensor:
    """(B, C_in, H, W) → (B, C_out, H', W')."""
    x, padding = layer.pad(x)

    def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(x, weight, bias, layer.stride, padding, layer.dilation, layer.groups)

    if isinstance(gate, IndexGate):
        return grouped(x, gate, layer.weight, layer.delta(), lambda part, weight: convolve(part, weight, layer.bias))
    y = convolve(x, layer.weight, layer.bias)
    weights = gate.weights.to(y.dtype)  # (B, E)
    if layer.groups > 1:
        for expert, delta in enumerate(layer.delta()):
            y = y + weights[:, expert, None, None, None] * convolve(x, delta)
        return y
    slices, up = layer.factors()
    small = torch.cat([convolve(x[:, channels], kernel) for channels, kernel in slices], dim=1)  # (B, n·E·q, H', W')
    gated = small.view(len(x), len(slices), layer.experts, -1, *small.shape[2:]) * weights[:, None, :, None, None, None]
    return y + F.conv2d(gated.flatten(1, 3), up)


def linear(layer: LowRankLinear, x: Tensor, gate: Gate) -> Tensor:
    """(B, …, C_in) → (B, …, C_out)."""
    if isinstance(gate, IndexGate):
        return grouped(x, gate, layer.weight, layer.delta(), lambda part, weight: F.linear(part, weight, layer.bias))
    y = F.linear(x, layer.weight, layer.bias)
    down, up = layer.factors()
    small = F.linear(x, down).view(*x.shape[:-1], layer.experts, -1)  # (B, …, E, r)
    weights = gate.weights.to(y.dtype).view(len(x), *(1,) * (x.dim() - 2), layer.experts, 1)
    return y + F.linear((small * weights).flatten(-2), up)


def grouped(
    x: Tensor, gate: IndexGate, weight: Tensor, delta: Tensor, apply: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """``apply(part of the batch, W + ΔW_e)`` for every expert present, in the batch's own order.

    delta: (E, *weight.shape). The gradient of an expert that has no sample is zero, and nothing is computed for it.
    """
    if gate.size == 0:
        return apply(x, weight)
    if gate.order is not None:
        x = x[gate.order]
    parts = torch.split(x, list(gate.counts))
    y = torch.cat([apply(part, weight + delta[expert]) for expert, part in enumerate(parts) if len(part)])
    if gate.order is None:
        return y
    return torch.empty_like(y).index_copy(0, gate.order, y)
