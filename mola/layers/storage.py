"""The adapters of a model in a file: A and B of every layer as safetensors, with what the layers are, and on request
the shared weights, which joint training changes too.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, TensorSpec, safe_open, serialize
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from mola import files
from mola.layers.adapt import adapt
from mola.layers.adapter import LowRank, LowRankConv2d, adapted_layers, adapter_parameters
from mola.layers.merging import required_layers
from mola.types import BadInput

Model = TypeVar("Model", bound=nn.Module)
Description = dict[str, Any]
WRAPPERS = re.compile(r"(?:^|\.)(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)(?=\.|$)")
VERSIONS = (1, 2)  # of the file; the first had adapters alone
SHARED = "shared."  # before the names of the shared weights


def save_adapters(model: nn.Module, path: Path | str, *, shared: bool = False) -> None:
    """Store A and B of every layer, and what they are, as safetensors. The file appears whole or not at all.

    shared: also all other parameters and buffers. Without them the file has their checksum, so that
            :func:`load_adapters` can tell whether a model has the weights that the adapters were trained with.

    The names are those of the model itself, also where it is wrapped (compiled, averaged, DDP).
    """
    model = _unwrapped(model)
    layers = _layers(model, "save_adapters")
    tensors = {f"{name}.{key}": getattr(layer, key) for name, layer in layers.items() for key in "AB"}
    rest = _shared_state(model)
    if shared:
        tensors |= {f"{SHARED}{name}": tensor for name, tensor in rest.items()}
    about = {
        "version": VERSIONS[-1],
        "layers": {name: _description(layer) for name, layer in layers.items()},
        "names": next(iter(layers.values())).slot.names,
        "shared_sha256": _checksum(rest),
    }
    content = _serialized(tensors, {"mola": json.dumps(about)})
    files.write(Path(path), lambda temporary: temporary.write_bytes(content))


@torch.no_grad()
def load_adapters(model: Model, path: Path | str) -> Model:
    """Fill the adapters of an adapted model, or adapt a plain one as the stored model was.

    The shared weights are filled, too, where the file has them. Where it has only their checksum and the model has
    others, a warning says so: adapters on other shared weights compute something else.
    Raises BadInput, with nothing changed, for a file that isn't one of :func:`save_adapters`, and for a model that
    differs: the message names the first layer that does.
    """
    path, wrapped = Path(path), model
    model = _unwrapped(model)
    about, tensors = _read(path)
    stored: dict[str, Description] = about["layers"]
    rest = {name.removeprefix(SHARED): tensors[name] for name in tensors if name.startswith(SHARED)}
    if rest:
        _check_shared(_shared_state(model), rest, path)
    if not adapted_layers(model):
        _adapt_alike(model, about, path)
    layers = _layers(model, "load_adapters")
    if any(layer.merged is not None for layer in layers.values()):
        raise BadInput("load_adapters: the model is merged; unmerge it first")
    for name in dict.fromkeys([*stored, *layers]):
        expected, actual = stored.get(name), _description(layers[name]) if name in layers else None
        if expected != actual:
            raise BadInput(f"{path}: layer '{name}' differs: expected {_listed(expected)}, found {_listed(actual)}")
    for name, layer in layers.items():
        layer.A.copy_(tensors[f"{name}.A"])
        layer.B.copy_(tensors[f"{name}.B"])
    state = _shared_state(model)
    for name, tensor in rest.items():
        state[name].copy_(tensor)
    if about.get("shared_sha256") not in (None, _checksum(state)):
        warnings.warn(
            f"{path}: the model's shared weights are not those that the adapters were trained with, so it computes "
            "something else; load these first, or store them along: save_adapters(..., shared=True)",
            stacklevel=3,
        )
    return wrapped


def _layers(model: nn.Module, caller: str) -> dict[str, LowRank]:
    """The adapted layers by their bare names."""
    return {_bare(name): layer for name, layer in required_layers(model, caller).items()}


def _shared_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """All parameters and buffers but the adapters, by bare name."""
    adapters = {id(parameter) for parameter in adapter_parameters(model)}
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {_bare(name): t for name, t in state.items() if id(t) not in adapters}


def _unwrapped(model: Model) -> Model:
    """The model inside torch.compile, DataParallel, DDP and averaged models."""
    inner: Any = model
    while True:
        if isinstance(inner, nn.DataParallel | DistributedDataParallel | AveragedModel):
            inner = inner.module
        elif isinstance(inside := getattr(inner, "_orig_mod", None), nn.Module):
            inner = inside
        else:
            return inner  # type: ignore[no-any-return]


def _bare(name: str) -> str:
    """A dotted name without what wrappers inside a model add: torch.compile, activation checkpointing, FSDP."""
    return WRAPPERS.sub("", name).lstrip(".")


def _serialized(tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> bytes:
    """The content of a file of tensors. safetensors has a function for it, which needs NumPy."""
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    specs = {
        name: TensorSpec(
            dtype=str(tensor.dtype).removeprefix("torch."),
            shape=list(tensor.shape),
            data_ptr=tensor.data_ptr(),
            data_len=tensor.nbytes,
        )
        for name, tensor in kept.items()
    }
    return bytes(serialize(specs, metadata))


def _checksum(state: Mapping[str, torch.Tensor]) -> str:
    """sha256 over names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # its bytes where they lie: NumPy may not be installed
        digest.update((ctypes.c_ubyte * tensor.nbytes).from_address(tensor.data_ptr()) if tensor.nbytes else b"")
    return digest.hexdigest()


def _check_shared(state: Mapping[str, torch.Tensor], stored: Mapping[str, torch.Tensor], path: Path) -> None:
    """Raise BadInput where the shared weights of a file are not those of the model by name and shape."""
    for name in dict.fromkeys([*stored, *state]):
        shapes = [tuple(each[name].shape) if name in each else "none" for each in (stored, state)]
        if shapes[0] != shapes[1]:
            raise BadInput(f"{path}: shared weight '{name}' differs: expected {shapes[0]}, found {shapes[1]}")


def _description(layer: LowRank) -> Description:
    """What must agree between a file and a model, as JSON gives it back."""
    description: Description = {"experts": layer.experts, "rank": layer.rank, "alpha": float(layer.alpha)}
    if isinstance(layer, LowRankConv2d):
        description["factorisation"] = layer.factorisation
    return {**description, "weight": list(layer.weight.shape)}


def _listed(description: Description | None) -> str:
    return "no adapter" if description is None else ", ".join(f"{key} {value}" for key, value in description.items())


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What the file says of itself, the description of each layer among it, and the tensors."""
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
    if not isinstance(about, dict) or about.get("version") not in VERSIONS:
        versions = " or ".join(map(str, VERSIONS))
        raise BadInput(f"{path}: expected adapters of version {versions}, found {'others' if about else 'none'}")
    return about, tensors


def _adapt_alike(model: nn.Module, about: Mapping[str, Any], path: Path) -> None:
    """Adapt a plain model as the stored one was. Raises BadInput where it lacks a layer, or the layers disagree."""
    stored: dict[str, Description] = about["layers"]
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
        experts=about.get("names") or first["experts"],
        alpha=first["alpha"],
        rank={re.escape(name): layer["rank"] for name, layer in stored.items()},
        where="|".join(re.escape(name) for name in stored),
        factorisation=(values["factorisation"] or {"loralib"}).pop(),  # type: ignore[arg-type]
    )
