"""Experts as modules of their own in a plain loop: what is written without this package."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from mola.layers.adapter import LowRankConv2d, LowRankLinear, adapted_layers
from mola.types import BadInput

Adapted = LowRankConv2d | LowRankLinear


class Chosen:
    """The expert of each sample, (B,), which all layers of a model read."""

    index: Tensor


class LoopedLayer(nn.Module):
    """A plain layer, and for each expert a projection down and one up: the samples of an expert go through its own."""

    def __init__(self, plain: nn.Conv2d | nn.Linear, adapted: Adapted, chosen: Chosen) -> None:
        super().__init__()
        if getattr(plain, "groups", 1) > 1:
            raise BadInput("the loop over experts: expected no grouped convolution")
        self.plain, self.chosen, self.scale = plain, chosen, adapted.alpha / adapted.rank
        pairs = [factors(adapted, expert) for expert in range(adapted.experts)]
        self.down = nn.ModuleList(_down(plain, a) for a, _ in pairs)
        self.up = nn.ModuleList(_up(plain, b) for _, b in pairs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) → (B, …)."""
        y: Tensor = self.plain(x)
        for expert, (down, up) in enumerate(zip(self.down, self.up, strict=True)):
            rows = (self.chosen.index == expert).nonzero()[:, 0]
            if len(rows):
                y = y.index_add(0, rows, self.scale * up(down(x[rows])))
        return y


def looped(model: nn.Module, adapted_model: nn.Module, chosen: Chosen) -> nn.Module:
    """The plain model with layers that loop, in place; their factors are those of ``adapted_model``, whose
    factorisation is two_conv.
    """
    for name, adapted in adapted_layers(adapted_model).items():
        assert isinstance(adapted, LowRankConv2d | LowRankLinear)
        plain = model.get_submodule(name)
        assert isinstance(plain, nn.Conv2d | nn.Linear)
        model.set_submodule(name, LoopedLayer(plain, adapted, chosen))
    return model


@torch.no_grad()
def factors(adapted: Adapted, expert: int) -> tuple[Tensor, Tensor]:
    """An expert's factors as PEFT and a loop hold them: A (r, C_in, k, k) and B (C_out, r, 1, 1), or (r, C_in) and
    (C_out, r).
    """
    a, b = adapted.A[expert].clone(), adapted.B[expert].clone()
    if isinstance(adapted, LowRankConv2d):
        return a.view(-1, *adapted.weight.shape[1:]), b[:, :, None, None]
    return a, b


def _down(plain: nn.Conv2d | nn.Linear, weight: Tensor) -> nn.Module:
    # with the plain layer's stride and padding
    layer = copy.deepcopy(plain)
    layer.weight, layer.bias = nn.Parameter(weight), None
    return layer


def _up(plain: nn.Conv2d | nn.Linear, weight: Tensor) -> nn.Module:
    layer: nn.Module
    if isinstance(plain, nn.Conv2d):
        layer = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=False)
    else:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight = nn.Parameter(weight)
    return layer
