"""Balancers: from the losses of the tasks to one gradient. One file each; the file's name is the balancer's name.

::

    balancer = mola.balancers.create("pcgrad", tasks=["a", "b"])
    balancer.backward({"a": loss_a, "b": loss_b}, shared=trunk.parameters())
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mola.balancers._standalone import Standalone as Standalone
    from mola.balancers._standalone import create as create
    from mola.balancers._standalone import names as names

__all__ = ["Standalone", "create", "names"]


def __getattr__(name: str) -> Any:
    # on first use, and by a computed name: runs of the harness neither load nor depend on it
    if name not in __all__:
        raise AttributeError(f"module 'mola.balancers' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}._standalone"), name)
