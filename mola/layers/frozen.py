"""Modules that stay as they are: no gradient, always evaluation mode, no adapters."""

from __future__ import annotations

from torch import nn

# an attribute of the module itself, so that a copy of a model keeps it
MARK = "stays_as_loaded"


def freeze(module: nn.Module) -> None:
    """Mark a module and all inside it as frozen."""
    module.requires_grad_(False).eval()
    for part in module.modules():
        setattr(part, MARK, True)


def is_frozen(module: nn.Module) -> bool:
    """Whether :func:`freeze` has marked the module. What replaces layers of a model leaves such ones alone."""
    return bool(getattr(module, MARK, False))


def keep_frozen(model: nn.Module) -> None:
    """Put what is frozen inside a model back into evaluation mode, after the model's mode has changed."""
    for module in model.modules():
        if is_frozen(module):
            module.training = False
