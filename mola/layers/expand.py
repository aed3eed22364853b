"""Every sample through several experts, or mixtures of them, in one pass; what lies before the first adapted layer runs
once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from mola.layers.adapter import adapted_layers
from mola.layers.gates import OpenGate, open_gates
from mola.types import BadInput


@contextmanager
def every_expert(model: nn.Module, size: int, experts: Sequence[int] | Tensor | None = None) -> Iterator[None]:
    """Open a gate under which an adapted model turns B samples into (E·B, …): all of expert 0, then of expert 1, …

    size:    B.
    experts: the experts to use, in ascending order; None for all; or (M, E) weights, the M mixtures to use.
    With activation checkpointing, call backward inside the block.

    The batch is repeated where the first adapted layer's branch of the model begins (:func:`expansion_point`): the
    result is that of a pass per expert, but for BatchNorm in training, which gets the repeated batch whole. Raises
    BadInput for a model that was never adapted.
    """
    slots = {layer.slot for layer in adapted_layers(model).values()}
    if len(slots) != 1:
        raise BadInput(f"every_expert: expected a model that was adapted once, found adapters of {len(slots)} calls")
    (slot,) = slots
    if not isinstance(experts, Tensor):
        indices = list(range(slot.experts)) if experts is None else list(experts)
        if not indices or indices != sorted(set(indices)):
            raise BadInput(f"every_expert: expected experts in ascending order, found {indices}")
        experts = torch.tensor(indices)
    copies = len(experts)

    def expand(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        # Not under another gate, opened inside this one.
        if slot.opened is not opened:
            return None
        return tree_map(lambda leaf: _repeated(leaf, size, copies), (args, dict(kwargs)))

    opened: OpenGate
    with open_gates(model, experts.repeat_interleave(size, 0), copies) as (opened,):
        hook = expansion_point(model).register_forward_pre_hook(expand, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()


def expansion_point(model: nn.Module) -> nn.Module:
    """The deepest module before whose input no adapted layer runs, and past which no other tensor of the batch leads.

    The model's children are taken for a chain in the order of their registration, as timm's are; only
    ``nn.Sequential`` is trusted to be one further down. Where that is wrong, B and E·B rows meet, and the model raises.
    """
    while True:
        first = next((child for child in model.children() if adapted_layers(child)), None)
        # None: the model is a layer itself. Lists and dictionaries of modules are never called.
        if first is None or isinstance(first, nn.ModuleList | nn.ModuleDict):
            return model
        model = first
        if not isinstance(model, nn.Sequential):
            return model


def _repeated(leaf: object, size: int, copies: int) -> object:
    if isinstance(leaf, Tensor) and leaf.dim() and len(leaf) == size:
        return leaf.repeat(copies, *[1] * (leaf.dim() - 1))
    return leaf
