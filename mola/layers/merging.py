"""An adapted model after training: one expert merged in place or exported as a plain model, and how large it is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from mola.layers.adapter import LowRank, LowRankConv2d, LowRankLinear, adapted_layers
from mola.layers.gates import GateSlot
from mola.layers.hooks import move_hooks
from mola.layers.plans.indexed import merged
from mola.layers.plans.operations import no_autocast
from mola.types import BadInput

Model = TypeVar("Model", bound=nn.Module)


@torch.no_grad()
def merge(model: Model, expert: int) -> Model:
    """Add one expert's ΔW to the shared weights, in place: the model then runs without a gate, at a plain model's cost.

    Raises BadInput for an expert outside 0 … E − 1, a model without adapters and one that is merged already.
    """
    layers = some_layers(model, "merge")
    for layer in layers.values():
        if layer.merged_expert is not None:
            raise BadInput(f"merge: the model is merged with expert {layer.merged_expert}; unmerge it first")
        if not isinstance(expert, int) or not 0 <= expert < layer.experts:
            raise BadInput(f"merge: expected an expert from 0 to {layer.experts - 1}, found {expert!r}")
    for layer in dict.fromkeys(layers.values()):
        layer.weight.copy_(_with_delta(layer, expert, 1))
        layer.merged_expert = expert
    return model


@torch.no_grad()
def unmerge(model: Model) -> Model:
    """Take the merged expert's ΔW off again, in place. The weights come back up to rounding. Raises BadInput where
    nothing is merged.
    """
    layers = some_layers(model, "unmerge")
    if all(layer.merged_expert is None for layer in layers.values()):
        raise BadInput("unmerge: the model is not merged")
    for layer in dict.fromkeys(layers.values()):
        if layer.merged_expert is not None:
            layer.weight.copy_(_with_delta(layer, layer.merged_expert, -1))
            layer.merged_expert = None
    return model


@torch.no_grad()
def export(model: Model, expert: int) -> Model:
    """A plain copy with one expert's weights: the classes and the state of the model before ``adapt``.

    The model itself is unchanged. Raises BadInput as :func:`merge` does.
    """
    if isinstance(model, LowRank):
        raise BadInput("export: expected a model with adapted layers inside, found a single layer; merge that")
    plain = merge(copy.deepcopy(model), expert)
    replacements: dict[nn.Module, nn.Module] = {}
    for name, layer in adapted_layers(plain).items():
        if layer not in replacements:
            replacements[layer] = _plain_layer(layer)
            move_hooks(layer, replacements[layer])
        plain.set_submodule(name, replacements[layer])
    for module in plain.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [key for key, hook in hooks.items() if isinstance(getattr(hook, "__self__", None), GateSlot)]:
                del hooks[key]
                module._forward_pre_hooks_with_kwargs.pop(key, None)
                module._forward_hooks_always_called.pop(key, None)
    return plain


@dataclass(frozen=True)
class ParameterCounts:
    """Numbers of parameters, each counted once. shared: all but A and B; adapters: A and B of all experts."""

    shared: int
    adapters: int
    experts: int

    @property
    def per_expert(self) -> int:
        """A and B of one expert."""
        return self.adapters // self.experts

    @property
    def total(self) -> int:
        """All of the model's."""
        return self.shared + self.adapters


def parameter_counts(model: nn.Module) -> ParameterCounts:
    """How large an adapted model is, and which part of it are adapters."""
    layers = set(some_layers(model, "parameter_counts").values())
    adapters = sum(layer.A.numel() + layer.B.numel() for layer in layers)
    total = sum(parameter.numel() for parameter in model.parameters())
    return ParameterCounts(total - adapters, adapters, next(iter(layers)).experts)


def some_layers(model: nn.Module, caller: str) -> dict[str, LowRank]:
    """The adapted layers of a model by name. Raises BadInput where there is none."""
    if not (layers := adapted_layers(model)):
        raise BadInput(f"{caller}: the model has no adapted layer; call mola.adapt(model, ...) first")
    return layers


def _with_delta(layer: LowRank, expert: int, sign: int) -> torch.Tensor:
    """W ± ΔW of one expert, whatever autocast is on."""
    with no_autocast(layer.weight):
        return merged(layer.weight, layer.A[expert], layer.B[expert], sign * layer.alpha / layer.rank)


def _plain_layer(layer: LowRank) -> nn.Module:
    """A layer of the class that was adapted, with the layer's weight and bias."""
    settings: dict[str, Any] = {"bias": layer.bias is not None, "device": "meta"}
    plain: nn.Module
    if isinstance(layer, LowRankLinear):
        plain = nn.Linear(layer.in_features, layer.out_features, **settings)
    else:
        assert isinstance(layer, LowRankConv2d)
        kind: Callable[..., nn.Module] = nn.Conv2d
        settings |= {"padding": layer.padding, "padding_mode": layer.padding_mode}
        if layer.dynamic_same:
            from timm.layers import Conv2dSame

            kind, settings = Conv2dSame, {"bias": settings["bias"], "padding": layer.padding}
        sizes = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride)
        plain = kind(*sizes, dilation=layer.dilation, groups=layer.groups, **settings)
    plain.weight, plain.bias, plain.training = layer.weight, layer.bias, layer.training  # type: ignore[assignment]
    return plain
