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
    from mola import balancers as balancers
    from mola.inference.load import load_model as load_model
    from mola.layers.adapt import adapt as adapt
    from mola.layers.expand import every_expert as every_expert
    from mola.layers.gates import gate as gate
    from mola.layers.merging import export as export
    from mola.layers.merging import merge as merge
    from mola.layers.merging import parameter_counts as parameter_counts
    from mola.layers.merging import unadapt as unadapt
    from mola.layers.merging import unmerge as unmerge
    from mola.layers.ordering import sorted_pass as sorted_pass
    from mola.layers.storage import load_adapters as load_adapters
    from mola.layers.storage import save_adapters as save_adapters
    from mola.layers.trainable import trainable as trainable

__version__ = "0.1.0"
_FILES = {
    "adapt": "layers.adapt",
    "every_expert": "layers.expand",
    "export": "layers.merging",
    "gate": "layers.gates",
    "load_adapters": "layers.storage",
    "load_model": "inference.load",
    "merge": "layers.merging",
    "parameter_counts": "layers.merging",
    "save_adapters": "layers.storage",
    "sorted_pass": "layers.ordering",
    "trainable": "layers.trainable",
    "unadapt": "layers.merging",
    "unmerge": "layers.merging",
}
__all__ = ["balancers", *_FILES]


def __getattr__(name: str) -> Any:
    # On first use, so that ``import mola`` stays free of torch, which takes seconds.
    if name == "balancers":
        from importlib.util import find_spec

        if find_spec("pydantic") is None:
            from mola import extras

            raise ModuleNotFoundError(extras.needs("mola.balancers", "pydantic", "balancers"), name="pydantic")
        return import_module("mola.balancers")
    if name not in _FILES:
        raise AttributeError(f"module 'mola' has no attribute '{name}'")
    return getattr(import_module(f"mola.{_FILES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
