"""What becomes of an adapted model after training: merged in place, exported as a plain model, stored."""

from __future__ import annotations

import copy
import json
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from mola.layers.adapt import adapt
from mola.layers.adapter import LowRank, LowRankConv2d, LowRankLinear
from mola.layers.gates import GateSlot
from mola.layers.hooks import move_hooks
from mola.layers.plans.indexed import merged
from mola.layers.plans.operations import no_autocast
from mola.types import BadInput

Model = TypeVar("Model", bound=nn.Module)
VERSION = 1  # of the file


@torch.no_grad()
def merge(model: Model, expert: int) -> Model:
    """Add one expert's ΔW to the shared weights, in place: the model then runs without a gate, at a plain model's cost.

    Raises BadInput for an expert outside 0 … E − 1, a model without adapters and one that is merged already.
    """
    layers = _layers(model, "merge")
    for layer in layers.values():
        if layer.merged_expert is not None:
            raise BadInput(f"merge: the model is merged with expert {layer.merged_expert}; unmerge it first")
        _check(expert, layer, "merge")
    for layer in dict.fromkeys(layers.values()):
        layer.weight.copy_(_with_delta(layer, expert, 1))
        layer.merged_expert = expert
    return model


@torch.no_grad()
def unmerge(model: Model) -> Model:
    """Take the merged expert's ΔW off again, in place. The weights come back up to rounding. Raises BadInput where
    nothing is merged.
    """
    layers = _layers(model, "unmerge")
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
    made: dict[nn.Module, nn.Module] = {}
    for name, layer in _layers(plain, "export").items():
        if layer not in made:
            made[layer] = _plain(layer)
            move_hooks(layer, made[layer])
        plain.set_submodule(name, made[layer])
    for module in plain.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [key for key, hook in hooks.items() if isinstance(getattr(hook, "__self__", None), GateSlot)]:
                del hooks[key]
                module._forward_pre_hooks_with_kwargs.pop(key, None)
                module._forward_hooks_always_called.pop(key, None)
    return plain


def save_adapters(model: nn.Module, path: Path | str) -> None:
    """Store A and B of every layer, and what they are, as safetensors. The file appears whole or not at all."""
    layers, path = _layers(model, "save_adapters"), Path(path)
    tensors = {
        f"{name}.{key}": getattr(layer, key).detach().contiguous() for name, layer in layers.items() for key in "AB"
    }
    about = {"version": VERSION, "layers": {name: _about(layer) for name, layer in layers.items()}}
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        part = Path(file.name)
    try:
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, part, {"mola": json.dumps(about)})
        with part.open("rb") as written:
            os.fsync(written.fileno())
        os.umask(mask := os.umask(0))  # the only way to read it; a temporary file is its owner's alone
        part.chmod(0o666 & ~mask)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@torch.no_grad()
def load_adapters(model: Model, path: Path | str) -> Model:
    """Fill the adapters of an adapted model, or adapt a plain one as the stored model was.

    Raises BadInput, with nothing changed, for a file that isn't one of :func:`save_adapters`, and for a model that
    differs: the message names the first layer that does.
    """
    stored, tensors = _read(Path(path))
    if not _found(model):
        _adapt_alike(model, stored, Path(path))
    layers = _layers(model, "load_adapters")
    if any(layer.merged_expert is not None for layer in layers.values()):
        raise BadInput("load_adapters: the model is merged; unmerge it first")
    for name in dict.fromkeys([*stored, *layers]):
        wanted, found = stored.get(name), _about(layers[name]) if name in layers else None
        if wanted != found:
            raise BadInput(f"{path}: layer '{name}' differs: expected {_told(wanted)}, found {_told(found)}")
    for name, layer in layers.items():
        layer.A.copy_(tensors[f"{name}.A"])
        layer.B.copy_(tensors[f"{name}.B"])
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
    layers = set(_layers(model, "parameter_counts").values())
    adapters = sum(layer.A.numel() + layer.B.numel() for layer in layers)
    total = sum(parameter.numel() for parameter in model.parameters())
    return ParameterCounts(total - adapters, adapters, next(iter(layers)).experts)


def _found(model: nn.Module) -> dict[str, LowRank]:
    return {name: m for name, m in model.named_modules(remove_duplicate=False) if isinstance(m, LowRank)}


def _layers(model: nn.Module, what: str) -> dict[str, LowRank]:
    if not (layers := _found(model)):
        raise BadInput(f"{what}: the model has no adapted layer; call mola.adapt(model, ...) first")
    return layers


def _check(expert: int, layer: LowRank, what: str) -> None:
    if not isinstance(expert, int) or not 0 <= expert < layer.experts:
        raise BadInput(f"{what}: expected an expert from 0 to {layer.experts - 1}, found {expert!r}")


def _with_delta(layer: LowRank, expert: int, sign: int) -> torch.Tensor:
    """W ± ΔW of one expert. Never autocast."""
    with no_autocast(layer.weight):
        return merged(layer.weight, layer.A[expert], layer.B[expert], sign * layer.alpha / layer.rank)


def _plain(layer: LowRank) -> nn.Module:
    """The layer that it was made from, with its weight."""
    biased = layer.bias is not None
    plain: nn.Module
    if isinstance(layer, LowRankLinear):
        plain = nn.Linear(layer.in_features, layer.out_features, biased, device="meta")
    else:
        kind: Callable[..., nn.Module] = nn.Conv2d
        how: dict[str, Any] = {"padding": layer.padding, "padding_mode": layer.padding_mode, "device": "meta"}
        if layer.dynamic_same:
            from timm.layers import Conv2dSame

            kind, how = Conv2dSame, {"padding": layer.padding}
        sizes = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride)
        plain = kind(*sizes, dilation=layer.dilation, groups=layer.groups, bias=biased, **how)
    plain.weight, plain.training = layer.weight, layer.training
    plain.bias = layer.bias  # type: ignore[assignment]
    return plain


def _about(layer: LowRank) -> dict[str, Any]:
    """What must agree, as JSON gives it back."""
    about: dict[str, Any] = {"experts": layer.experts, "rank": layer.rank, "alpha": float(layer.alpha)}
    if isinstance(layer, LowRankConv2d):
        about["factorisation"] = layer.factorisation
    return {**about, "weight": list(layer.weight.shape)}


def _told(about: dict[str, Any] | None) -> str:
    return "no adapter" if about is None else ", ".join(f"{key} {value}" for key, value in about.items())


def _read(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
            about = json.loads((file.metadata() or {}).get("mola", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise BadInput(f"{path}: expected a file of mola.save_adapters, found none") from None
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise BadInput(
            f"{path}: expected a file of mola.save_adapters, found one that can't be read: {error}"
        ) from None
    if not isinstance(about, dict) or about.get("version") != VERSION:
        raise BadInput(f"{path}: expected adapters of version {VERSION}, found {'others' if about else 'none'}")
    return about["layers"], tensors


def _adapt_alike(model: nn.Module, stored: dict[str, dict[str, Any]], path: Path) -> None:

    same = {
        key: {str(about[key]) for about in stored.values() if key in about}
        for key in ("experts", "alpha", "factorisation")
    }
    if mixed := [key for key, values in same.items() if len(values) > 1]:
        raise BadInput(f"{path}: its layers have several values of {mixed[0]}; adapt the model first, then load")
    plain = dict(model.named_modules(remove_duplicate=False))
    for name, about in stored.items():
        found = getattr(plain.get(name), "weight", None)
        if found is None or list(found.shape) != about["weight"]:
            shape = "no such layer" if found is None else f"a weight {list(found.shape)}"
            raise BadInput(f"{path}: layer '{name}' differs: expected {_told(about)}, found {shape}")
    first = next(iter(stored.values()))
    adapt(
        model,
        experts=first["experts"],
        alpha=first["alpha"],
        rank={re.escape(name): about["rank"] for name, about in stored.items()},
        where="|".join(re.escape(name) for name in stored),
        factorisation=(same["factorisation"] or {"loralib"}).pop(),  # type: ignore[arg-type]
    )
