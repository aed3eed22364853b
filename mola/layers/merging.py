"""An adapted model after training: one expert, or a mixture, merged in place or exported as a plain model; its size."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mola.layers.adapter import LowRank, LowRankConv2d, LowRankLinear, MergedWeight, adapted_layers
from mola.layers.fusing import allow_fusing
from mola.layers.gates import GateSlot
from mola.layers.hooks import move_hooks
from mola.layers.norms import TaskBatchNorm, undivide
from mola.layers.plans.operations import no_autocast
from mola.types import BadInput

Model = TypeVar("Model", bound=nn.Module)
Expert = int | str | Sequence[float] | Tensor  # an expert, its name, or the weight of every expert


@torch.no_grad()
def merge(model: Model, expert: Expert) -> Model:
    """Add an expert's ΔW to the shared weights, in place: the model then runs without a gate, at a plain model's cost.

    expert: its number; its name, where the experts have names; or E weights γ, for Σ_e γ_e ΔW_e.

    All layers are merged or none. Raises BadInput for an expert that is none, a model without adapters, one that is
    merged already, and weights that something else computes (pruning, weight norm).
    """
    layers = _mergeable(model, "merge")
    for layer in layers.values():
        if layer.merged is not None:
            raise BadInput(f"merge: the model is merged with expert {layer.merged.title}; unmerge it first")
    mixtures = {layer: _mixture(layer, expert, "merge") for layer in layers.values()}
    weights = {layer: _with_delta(layer, layer.weight, added) for layer, added in mixtures.items()}
    for layer, weight in weights.items():
        layer.merged = MergedWeight(_title(expert, mixtures[layer]), mixtures[layer], layer.weight.detach().clone())
        layer.weight.copy_(weight)
    return model


@torch.no_grad()
def unmerge(model: Model) -> Model:
    """Put the shared weights back, bit for bit as they were before the merge. Raises BadInput where nothing is merged,
    and where the merged weights were changed: trained, loaded or moved to another precision.
    """
    layers = required_layers(model, "unmerge")
    if all(layer.merged is None for layer in layers.values()):
        raise BadInput("unmerge: the model is not merged")
    for name, layer in layers.items():
        if layer.merged is not None and not _is_as_merged(layer, layer.merged):
            raise BadInput(
                f"unmerge: the weights of layer '{name}' were changed since the merge; unmerge before you train, load "
                "or convert a model"
            )
    for layer in dict.fromkeys(layers.values()):
        if layer.merged is not None:
            layer.weight.copy_(layer.merged.kept)
            layer.merged = None
    return model


def export(model: Model, expert: Expert, *, task: str | None = None) -> Model:
    """A plain copy with one expert's weights, or with those of a mixture: the classes and the state of the model before
    ``adapt``.

    task: whose BatchNorm layers the copy has, where every task has some of its own (``norm: task``).

    The model itself is unchanged. Raises BadInput as :func:`merge` does, and for a task where there is none to choose.
    """
    if isinstance(model, LowRank):
        raise BadInput("export: expected a model with adapted layers inside, found a single layer; merge that")
    for layer in _mergeable(model, "export").values():
        if layer.merged is not None:
            raise BadInput(f"export: the model is merged with expert {layer.merged.title}; unmerge it first")
        _mixture(layer, expert, "export")
    divided = next((module for module in model.modules() if isinstance(module, TaskBatchNorm)), None)
    if (divided is None) != (task is None):
        known = f"one of {', '.join(divided.norms)}" if divided else "none, as all tasks have the same BatchNorm layers"
        raise BadInput(f"export: task: expected {known}, found {task!r}")
    plain = unadapt(copy.deepcopy(model), expert)
    if task is not None:
        undivide(plain, task)
    return plain


@torch.no_grad()
def unadapt(model: Model, expert: Expert | None = None) -> Model:
    """Take the adapters out, in place: the plain model again, with its shared weights as they are now, or with an
    expert's ΔW added to them.

    Raises BadInput, with nothing changed, as :func:`merge` does, and for a merged model whose ``expert`` is given.
    """
    if isinstance(model, LowRank):
        raise BadInput("unadapt: expected a model with adapted layers inside, found a single layer")
    layers = _mergeable(model, "unadapt")
    if expert is not None:
        merge(model, expert)
    elif any(layer.merged is not None for layer in layers.values()):
        unmerge(model)
    replacements: dict[nn.Module, nn.Module] = {}
    for name, layer in layers.items():
        if layer not in replacements:
            replacements[layer] = _plain_layer(layer)
            move_hooks(layer, replacements[layer])
        model.set_submodule(name, replacements[layer])
    for module in model.modules():
        allow_fusing(module)
        hooks = module._forward_pre_hooks
        for key in [key for key, hook in hooks.items() if isinstance(getattr(hook, "__self__", None), GateSlot)]:
            del hooks[key]
            module._forward_pre_hooks_with_kwargs.pop(key, None)
    return model


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
    layers = set(required_layers(model, "parameter_counts").values())
    adapters = sum(layer.A.numel() + layer.B.numel() for layer in layers)
    total = sum(parameter.numel() for parameter in model.parameters())
    return ParameterCounts(total - adapters, adapters, next(iter(layers)).experts)


def required_layers(model: nn.Module, caller: str) -> dict[str, LowRank]:
    """The adapted layers of a model by name. Raises BadInput where there is none."""
    if not (layers := adapted_layers(model)):
        raise BadInput(f"{caller}: the model has no adapted layer; call mola.adapt(model, ...) first")
    return layers


def _mergeable(model: nn.Module, caller: str) -> dict[str, LowRank]:
    """The adapted layers, whose weight, A and B are parameters: what a hook or a parametrisation computes from others
    would be computed anew, and what is merged into it be lost.
    """
    layers = required_layers(model, caller)
    for name, layer in layers.items():
        if computed := [key for key in ("weight", "A", "B") if key not in layer._parameters]:
            raise BadInput(
                f"{caller}: {computed[0]} of layer '{name}' is computed by something else (pruning, weight_norm, "
                "spectral_norm …); make that permanent first, as torch.nn.utils.prune.remove does"
            )
    return layers


def _mixture(layer: LowRank, expert: Expert, caller: str) -> int | Tensor:
    """An expert's number, or the weights (E,) of a mixture. Raises BadInput for what is neither."""
    if isinstance(expert, str):
        names = layer.slot.names
        if names is None:
            raise BadInput(f"{caller}: expected an expert from 0 to {layer.experts - 1}, found '{expert}'")
        if expert not in names:
            raise BadInput(f"{caller}: expected one of {', '.join(names)}, found '{expert}'")
        return names.index(expert)
    if isinstance(expert, int) and not isinstance(expert, bool):
        if not 0 <= expert < layer.experts:
            raise BadInput(f"{caller}: expected an expert from 0 to {layer.experts - 1}, found {expert}")
        return expert
    if isinstance(expert, Sequence | Tensor):
        try:
            weights = torch.as_tensor(expert, dtype=layer.A.dtype, device=layer.A.device)
        except (TypeError, ValueError, RuntimeError):
            weights = torch.empty(0)
        if weights.shape == (layer.experts,) and bool(weights.isfinite().all()):
            return weights
    number = layer.experts
    raise BadInput(f"{caller}: expected an expert from 0 to {number - 1}, or {number} finite weights, found {expert!r}")


def _title(expert: Expert, added: int | Tensor) -> str:
    """How messages name what is merged."""
    return str(expert) if isinstance(added, int) else f"weights {[round(value, 4) for value in added.tolist()]}"


def _is_as_merged(layer: LowRank, merged: MergedWeight) -> bool:
    """Whether a layer's weight is still what the merge gave."""
    kept = merged.kept.to(layer.weight.device)
    return kept.dtype == layer.weight.dtype and torch.equal(layer.weight, _with_delta(layer, kept, merged.added))


def _with_delta(layer: LowRank, weight: Tensor, added: int | Tensor) -> Tensor:
    """W + ΔW of an expert or a mixture, in the weight's precision, whatever autocast is on."""
    a, b = layer.A, layer.B
    if isinstance(added, int):
        a, b = a[added], b[added]
    else:
        # Σ_e γ_e B_e A_e is one product of the matrices side by side
        b = (added.to(b.device)[:, None, None] * b).transpose(0, 1).reshape(b.shape[1], -1)
        a = a.reshape(-1, a.shape[2])
    with no_autocast(weight):
        flat = weight.to(torch.promote_types(weight.dtype, a.dtype)).reshape(len(b), a.shape[1])
        whole = torch.addmm(flat, b.to(flat.dtype), a.to(flat.dtype), alpha=layer.alpha / layer.rank)
        return whole.view(weight.shape).to(weight.dtype)


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
