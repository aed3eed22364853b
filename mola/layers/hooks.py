"""A layer that takes another one's place in a model takes over the hooks that others registered on it."""

from __future__ import annotations

import weakref

from torch import nn

# The attributes that hold hooks: of forward, backward, state_dict and its loading.
NAMES = tuple(name for name in vars(nn.Module()) if "_hook" in name)


def move_hooks(old: nn.Module, new: nn.Module) -> None:
    """Give every hook of ``old`` to ``new``, a fresh layer; their handles still remove them."""
    for name in NAMES:
        # The dictionary itself, as the handles refer to it.
        setattr(new, name, getattr(old, name))
    for hook in new._load_state_dict_pre_hooks.values():
        # Torch bound the hook to the layer where it was registered.
        if hook.with_module:  # type: ignore[attr-defined]
            hook.module = weakref.ref(new)  # type: ignore[attr-defined]
