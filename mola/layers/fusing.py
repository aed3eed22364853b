"""Modules that can fold their convolutions into one (RepVGG, FastViT, RepViT): not while these have adapters, which
would be lost without a word.
"""

from __future__ import annotations

from functools import partial
from typing import NoReturn

from torch import nn

from mola.types import BadInput

# what timm.utils.reparameterize_model and the models' own code call
METHODS = ("fuse", "reparameterize", "switch_to_deploy")


def forbid_fusing(module: nn.Module) -> None:
    """Let a module that has adapted layers refuse to fold itself."""
    for name in METHODS:
        if callable(getattr(type(module), name, None)):
            object.__setattr__(module, name, partial(_refuse, type(module).__name__, name))


def allow_fusing(module: nn.Module) -> None:
    """Undo :func:`forbid_fusing`."""
    for name in METHODS:
        if getattr(vars(module).get(name), "func", None) is _refuse:
            delattr(module, name)


def _refuse(kind: str, name: str) -> NoReturn:
    raise BadInput(
        f"{name}: this {kind} has adapted layers, whose adapters would be lost; export an expert first: "
        f"mola.export(model, expert)"
    )
