"""Mixtures of low-rank adapters: the layers, their gates, and :func:`mola.adapt`. They know nothing of the benchmark.

Reading order: ``adapter`` (what a layer holds), ``gate_kinds`` and ``gates`` (which experts a sample gets),
``plans.dispatch`` (which way the output is computed), ``plans.indexed`` and ``plans.weighted`` (the fast ways),
``adapt`` (how a model gets such layers), ``expand`` (every sample through several experts), ``merging`` and ``storage``
(what becomes of a trained model), ``router`` (the paper's router network).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mola.layers.adapter import LowRankConv2d, LowRankLinear

__all__ = ["LowRankConv2d", "LowRankLinear"]


def __getattr__(name: str) -> Any:
    # On first use, so that a program that reads one file of this package neither loads nor depends on the others.
    if name not in __all__:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.adapter"), name)
