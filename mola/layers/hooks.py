"""A layer that takes another one's place in a model takes over the hooks that others registered on it."""

from __future__ import annotations

import weakref

from torch import nn

NAMES = tuple(name for name in vars(nn.Module()) if "_hook" in name)  # of forward, backward, state_dict, loading


def move_hooks(old: nn.Module, new: nn.Module) -> None:
    """Every hook of ``old`` to ``new``, a fresh layer; their handles still remove them."""
    for name in NAMES:
        setattr(new, name, getattr(old, name))  # the dictionary itself: handles know it
    for hook in new._load_state_dict_pre_hooks.values():
        if hook.with_module:  # type: ignore[attr-defined]  # torch bound it to the layer when it was registered
            hook.module = weakref.ref(new)  # type: ignore[attr-defined]
