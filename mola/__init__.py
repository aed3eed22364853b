"""Mixtures of low-rank adapters, and an honest benchmark of training on heterogeneous data.

::

    model = mola.adapt(timm.create_model("resnet18"), experts=3, rank=4, where=r"layer[2-4]\\..*conv\\d")
    with mola.gate(model, torch.tensor([0, 2, 1])):  # the expert of each sample (MoLA-Grad)
        y = model(torch.randn(3, 3, 64, 64))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mola.layers.adapt import adapt
    from mola.layers.expand import every_expert
    from mola.layers.gates import gate
    from mola.layers.merging import export, load_adapters, merge, parameter_counts, save_adapters, unmerge

__version__ = "0.1.0"
__all__ = [
    "adapt",
    "every_expert",
    "export",
    "gate",
    "load_adapters",
    "merge",
    "parameter_counts",
    "save_adapters",
    "unmerge",
]


def __getattr__(name: str) -> Any:
    # ``import mola`` stays free of torch (seconds); the layers load on first use
    if name not in __all__:
        raise AttributeError(f"module 'mola' has no attribute '{name}'")
    home = {"adapt": "adapt", "every_expert": "fan_out", "gate": "gates"}.get(name, "life")
    return getattr(import_module(f"mola.layers.{home}"), name)
