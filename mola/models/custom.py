"""Backbones of the user's own: any callable that returns a module whose output are features."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mola import plugins
from mola.faults import named
from mola.models.backbones import Builder, loader, width
from mola.models.frozen_stages import freeze_stages as freeze
from mola.source import module_file
from mola.types import BadInput


def builder(
    name: str,
    options: Mapping[str, Any] | None = None,
    weights: str | None = None,
    *,
    images: Tensor,
    dense: bool = False,
    head_width: int = 512,
    freeze_stages: int = 0,
) -> Builder:
    """As :func:`mola.models.backbones.builder`, of a callable ``module:function`` and its keyword arguments.

    The callable returns a module that maps (B, C, H, W) to features (B, F) or (B, F, h, w), which are averaged to (B,
    F), unless ``dense`` takes them as they are. Its modules keep their names.
    images:  (B, C, H, W), a small batch as the backbone will get it; a forward pass on it shows F.
    weights: None, or a local state dict.
    Raises BadInput for a callable that is not there or raises an error, and for features of other shapes.
    """
    make, load = function(name), loader(name, weights)

    def build() -> nn.Module:
        with named(*_place(make)):
            model = make(**dict(options or {}))
        if not isinstance(model, nn.Module):
            raise BadInput(f"backbone.name: expected {name} to return a torch.nn.Module, found {type(model).__name__}")
        features = measured(name, model, images, dense)
        load(model)
        if width_of(model) != features:
            # where mola.models.backbones.width looks first
            model.head_hidden_size = features  # type: ignore[assignment]
        if dense:
            model.dense_head_width = head_width  # type: ignore[assignment]
        else:
            model.register_forward_hook(_pooled)
        if freeze_stages:
            if not getattr(model, "feature_info", None):
                raise BadInput(
                    f"backbone.freeze_stages: expected 0, as {name} names no stages (timm's feature_info), "
                    f"found {freeze_stages}"
                )
            freeze(model, freeze_stages)
        return model

    return build


def function(name: str) -> Callable[..., Any]:
    """The callable that ``module:function`` stands for. Raises BadInput where there is none."""
    module, _, attribute = name.partition(":")
    path = module_file(module)
    try:
        with named(path) if path and plugins.shown(path) else named():
            imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise BadInput(
            f"backbone.name: expected a module in a file beside the configuration or installed, found no '{module}'"
        ) from None
    try:
        value = reduce(getattr, attribute.split("."), imported)
    except AttributeError:
        raise BadInput(f"backbone.name: expected a function '{attribute}' in {module}, found none") from None
    if not callable(value):
        raise BadInput(f"backbone.name: expected {name} to be a function, found {type(value).__name__}")
    return value


@torch.no_grad()
def measured(name: str, model: nn.Module, images: Tensor, dense: bool = False) -> int:
    """F, the number of features that a module gives of images (B, C, H, W), without a change of its statistics.

    Raises BadInput for an output that is neither (B, F) nor (B, F, h, w), and where ``dense`` needs the latter.
    """
    mode = model.training
    # what a forward pass draws is no part of the weights' draws
    with torch.random.fork_rng(devices=[]), named(*_place(model)):
        output = model.eval()(images)
    model.train(mode)
    wish = "(B, F, h, w) for dense tasks" if dense else "(B, F) or (B, F, h, w)"
    if not isinstance(output, Tensor) or output.dim() not in ((4,) if dense else (2, 4)) or len(output) != len(images):
        actual = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        message = f"expected features of shape {wish} from {name}, found {actual} for {tuple(images.shape)}"
        raise BadInput(f"backbone.name: {message}")
    return output.shape[1]


def width_of(model: nn.Module) -> int | None:
    """F as the module itself says it; None where it does not."""
    try:
        return width(model)
    except (AttributeError, TypeError, ValueError):
        return None


def _place(thing: Any) -> tuple[Path | None, int | None]:
    """File and line of a function, or of a module's class."""
    code = getattr(thing if not isinstance(thing, nn.Module) else type(thing).forward, "__code__", None)
    return (Path(code.co_filename), code.co_firstlineno) if code else (None, None)


def _pooled(model: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
    """A forward hook: (B, F) as it is, of (B, F, h, w) the mean over the map."""
    return output.mean((2, 3)) if output.dim() == 4 else output
