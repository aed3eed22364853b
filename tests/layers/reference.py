"""The written formulas, element by element and sample by sample: slow, and independent of the layers' own algebra."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from mola.layers.adapter import LowRankConv2d, LowRankLinear


def delta_by_elements(layer: LowRankConv2d) -> torch.Tensor:
    """ΔW of every expert: position p of the flattened B A is position p of the flattened weight."""
    scale = layer.alpha / layer.rank
    out = torch.zeros(layer.experts, *layer.weight.shape, dtype=layer.weight.dtype)
    _, inputs, kernel, _ = layer.weight.shape
    for e in range(layer.experts):
        for o in range(layer.weight.shape[0]):
            for i in range(inputs):
                for u in range(kernel):
                    for v in range(kernel):
                        if layer.factorisation == "two_conv":
                            value = sum(
                                layer.B[e, o, s] * layer.A[e, s, (i * kernel + u) * kernel + v]
                                for s in range(layer.rank)
                            )
                        else:
                            position = ((o * inputs + i) * kernel + u) * kernel + v
                            row, column = divmod(position, layer.A.shape[2])
                            value = layer.B[e, row] @ layer.A[e, :, column]
                        out[e, o, i, u, v] = scale * value
    return out


def output_by_samples(layer: LowRankConv2d | LowRankLinear, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """y_i = (W + Σ_e γ_ie ΔW_e) x_i, a weight of its own for every sample. weights: (B, E)."""
    merged = layer.weight + torch.einsum("be,e...->b...", weights, layer.delta())
    if isinstance(layer, nn.Linear):
        return torch.stack([F.linear(sample, weight, layer.bias) for sample, weight in zip(x, merged, strict=True)])
    x, merged = x.contiguous(), merged.contiguous()  # a single sample of another layout gets wrong gradients from torch
    if layer.padding_mode != "zeros":
        x = F.pad(x, layer._reversed_padding_repeated_twice, mode=layer.padding_mode)
    padding = layer.padding if layer.padding_mode == "zeros" else 0
    rest = (layer.bias, layer.stride, padding, layer.dilation, layer.groups)
    return torch.cat([F.conv2d(sample[None], weight, *rest) for sample, weight in zip(x, merged, strict=True)])


def filled(layer):
    """Adapters as after some training: B is not zero."""
    with torch.no_grad():
        layer.B.normal_(std=0.3)
    assert layer.delta().abs().sum() > 0
    return layer
