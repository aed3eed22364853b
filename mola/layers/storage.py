"""The adapters of a model in a file: A and B of every layer as safetensors, with what the layers are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from mola import files
from mola.layers.adapt import adapt
from mola.layers.adapter import LowRank, LowRankConv2d, adapted_layers
from mola.layers.merging import some_layers
from mola.types import BadInput

Model = TypeVar("Model", bound=nn.Module)
Description = dict[str, Any]
VERSION = 1  # of the file


def save_adapters(model: nn.Module, path: Path | str) -> None:
    """Store A and B of every layer, and what they are, as safetensors. The file appears whole or not at all."""
    layers = some_layers(model, "save_adapters")
    # Cloned, as the format refuses tensors that share their memory, which those of a layer under two names do.
    tensors = {
        f"{name}.{key}": getattr(layer, key).detach().clone(memory_format=torch.contiguous_format)
        for name, layer in layers.items()
        for key in "AB"
    }
    about = {"version": VERSION, "layers": {name: _description(layer) for name, layer in layers.items()}}
    files.write(Path(path), lambda temporary: save_file(tensors, temporary, {"mola": json.dumps(about)}))


@torch.no_grad()
def load_adapters(model: Model, path: Path | str) -> Model:
    """Fill the adapters of an adapted model, or adapt a plain one as the stored model was.

    Raises BadInput, with nothing changed, for a file that isn't one of :func:`save_adapters`, and for a model that
    differs: the message names the first layer that does.
    """
    path = Path(path)
    stored, tensors = _read(path)
    if not adapted_layers(model):
        _adapt_alike(model, stored, path)
    layers = some_layers(model, "load_adapters")
    if any(layer.merged_expert is not None for layer in layers.values()):
        raise BadInput("load_adapters: the model is merged; unmerge it first")
    for name in dict.fromkeys([*stored, *layers]):
        expected, actual = stored.get(name), _description(layers[name]) if name in layers else None
        if expected != actual:
            raise BadInput(f"{path}: layer '{name}' differs: expected {_listed(expected)}, found {_listed(actual)}")
    for name, layer in layers.items():
        layer.A.copy_(tensors[f"{name}.A"])
        layer.B.copy_(tensors[f"{name}.B"])
    return model


def _description(layer: LowRank) -> Description:
    """What must agree between a file and a model, as JSON gives it back."""
    description: Description = {"experts": layer.experts, "rank": layer.rank, "alpha": float(layer.alpha)}
    if isinstance(layer, LowRankConv2d):
        description["factorisation"] = layer.factorisation
    return {**description, "weight": list(layer.weight.shape)}


def _listed(description: Description | None) -> str:
    return "no adapter" if description is None else ", ".join(f"{key} {value}" for key, value in description.items())


def _read(path: Path) -> tuple[dict[str, Description], dict[str, torch.Tensor]]:
    """The description of each layer by name, and the tensors."""
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


def _adapt_alike(model: nn.Module, stored: dict[str, Description], path: Path) -> None:
    """Adapt a plain model as the stored one was. Raises BadInput where it lacks a layer, or the layers disagree."""
    values = {
        key: {str(layer[key]) for layer in stored.values() if key in layer}
        for key in ("experts", "alpha", "factorisation")
    }
    if mixed := [key for key, different in values.items() if len(different) > 1]:
        raise BadInput(f"{path}: its layers have several values of {mixed[0]}; adapt the model first, then load")
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, layer in stored.items():
        weight = getattr(modules.get(name), "weight", None)
        if weight is None or list(weight.shape) != layer["weight"]:
            shape = "no such layer" if weight is None else f"a weight {list(weight.shape)}"
            raise BadInput(f"{path}: layer '{name}' differs: expected {_listed(layer)}, found {shape}")
    first = next(iter(stored.values()))
    adapt(
        model,
        experts=first["experts"],
        alpha=first["alpha"],
        rank={re.escape(name): layer["rank"] for name, layer in stored.items()},
        where="|".join(re.escape(name) for name in stored),
        factorisation=(values["factorisation"] or {"loralib"}).pop(),  # type: ignore[arg-type]
    )
