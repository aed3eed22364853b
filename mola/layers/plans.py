"""Execution plans: how an adapted layer computes its output. All are exact; this file is the one place that chooses.

grouped   (index gate)   the batch is sorted by expert; one call per expert present, with W + ΔW_e.
separate  (index gate, few positions)  y = W x, plus B_e A_e x of each sample's own expert on unfolded columns.
factored  (weight gate)  y = W x + B (γ ⊙ A x), γ on the smaller of B and A x: no full weight per sample, no map per
                         expert and output channel.
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

FEW = 4  # measured on a CPU: one more matrix of merged weights costs about as much as this many unfolded columns


def few_positions(gate: IndexGate, outputs: int, positions: int) -> bool:
    """Whether a merged weight for every expert present costs more than the low-rank path on all positions.

    outputs: C_out; positions: of one sample's output, H'·W' or tokens.
    """
    return len(gate.present) * outputs > FEW * gate.size * positions > 0


def convolution(layer: LowRankConv2d, x: Tensor, gate: Gate) -> Tensor:
    """(B, C_in, H, W) → (B, C_out, H', W')."""
    x, padding = layer.pad(x)

    def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(x, weight, bias, layer.stride, padding, layer.dilation, layer.groups)

    if isinstance(gate, IndexGate):
        positions = x.shape[2] * x.shape[3] // (layer.stride[0] * layer.stride[1])
        if layer.groups == 1 and few_positions(gate, layer.out_channels, positions):
            y = convolve(x, layer.weight, layer.bias)
            update = separate(layer.columns(x, padding), gate, *layer.by_columns())  # (B, H'·W', C_out)
            return y + update.transpose(1, 2).reshape(y.shape)
        return grouped(x, gate, layer, lambda part, weight: convolve(part, weight, layer.bias))
    y = convolve(x, layer.weight, layer.bias)
    weights = gate.weights.to(y.dtype)  # (B, E)
    if layer.groups > 1:
        for expert, delta in enumerate(layer.delta().unbind()):
            y = y + weights[:, expert, None, None, None] * convolve(x, delta)
        return y
    slices, up = layer.factors()
    small = torch.cat([convolve(x[:, channels], kernel) for channels, kernel in slices], dim=1)  # (B, n·E·q, H', W')
    parts = (len(slices), layer.experts, small.shape[1] // (len(slices) * layer.experts))  # n, E, q
    if y.shape[2] * y.shape[3] >= layer.out_channels:  # then γ is cheaper on B, (B, C_out, n·E·q), than on the maps
        ups = up.view(1, -1, *parts) * gate.weights.to(up.dtype)[:, None, None, :, None]
        return torch.baddbmm(y.flatten(2), ups.flatten(2), small.flatten(2)).view(y.shape)
    gated = small.view(len(x), *parts, *small.shape[2:]) * weights[:, None, :, None, None, None]
    return y + F.conv2d(gated.flatten(1, 3), up)


def linear(layer: LowRankLinear, x: Tensor, gate: Gate) -> Tensor:
    """(B, …, C_in) → (B, …, C_out)."""
    if isinstance(gate, IndexGate):
        if few_positions(gate, layer.out_features, x[0, ..., 0].numel() if len(x) else 0):
            y = F.linear(x, layer.weight, layer.bias)
            return y + separate(x.reshape(len(x), -1, 1, x.shape[-1]), gate, *layer.by_columns()).view_as(y)
        return grouped(x, gate, layer, lambda part, weight: F.linear(part, weight, layer.bias))
    y = F.linear(x, layer.weight, layer.bias)
    down, up = layer.factors()
    small = F.linear(x, down).view(*x.shape[:-1], layer.experts, layer.rank)  # (B, …, E, r)
    weights = gate.weights.to(y.dtype).view(len(x), *(1,) * (x.dim() - 2), layer.experts, 1)
    return y + F.linear((small * weights).flatten(-2), up)


def grouped(
    x: Tensor, gate: IndexGate, layer: LowRankConv2d | LowRankLinear, apply: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """``apply(part of the batch, W + ΔW_e)`` for every expert present, in the batch's own order.

    The gradient of an expert that has no sample is zero, and nothing is computed for it.
    """
    if gate.size == 0:
        return apply(x, layer.weight)
    merged = layer.merged(gate.present)
    return by_expert(x, gate, lambda part, place: apply(part, merged[place]))


def separate(columns: Tensor, gate: IndexGate, down: Tensor, up: Tensor) -> Tensor:
    """B_e A_e of each sample's own expert e. columns: (B, L, n, c) → (B, L, C_out).

    down: (E, q, c), met by each of the n parts of a column; up: (E, C_out, n·q), α/r included.
    """
    downs, ups = down.unbind(), up.unbind()

    def apply(part: Tensor, place: int) -> Tensor:
        expert = gate.present[place]
        return F.linear(F.linear(part, downs[expert]).flatten(2), ups[expert])

    return by_expert(columns, gate, apply)


def by_expert(x: Tensor, gate: IndexGate, apply: Callable[[Tensor, int], Tensor]) -> Tensor:
    """``apply(samples of one expert, its place among those present)``, put back into the batch's own order."""
    order = gate.order
    if order is not None:
        x = x[order]
    parts = torch.split(x, [gate.counts[expert] for expert in gate.present])
    y = torch.cat([apply(part, place) for place, part in enumerate(parts)])
    return y if order is None else torch.empty_like(y).index_copy(0, order, y)
