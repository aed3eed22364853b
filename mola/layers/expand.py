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

from mola.layers.gates import GateSlot, gate
from mola.types import BadInput


@contextmanager
def every_expert(model: nn.Module, size: int, experts: Sequence[int] | Tensor | None = None) -> Iterator[None]:
    """Open a gate under which an adapted model turns B samples into (E·B, …): all of expert 0, then of expert 1, …

    size:    B.
    experts: those to meet, in ascending order; None for all; or (M, E) weights, the M mixtures to meet.
    With activation checkpointing, call backward inside the block.

    The samples are repeated where the first adapted layer's branch of the model begins (:func:`fork`): the result is
    that of a pass per expert, but for BatchNorm in training, which sees the repeated batch whole. Raises BadInput for a
    model that was never adapted.
    """
    slots = {slot for module in model.modules() if isinstance(slot := getattr(module, "slot", None), GateSlot)}
    if len(slots) != 1:
        raise BadInput(f"every_expert: expected a model that was adapted once, found adapters of {len(slots)} calls")
    (slot,) = slots
    if not isinstance(experts, Tensor):
        met = list(range(slot.experts)) if experts is None else list(experts)
        if not met or met != sorted(set(met)):
            raise BadInput(f"every_expert: expected experts in ascending order, found {met}")
        experts = torch.tensor(met)
    copies = len(experts)

    def repeated(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        if slot.gate is not opened:  # another gate, inside this one
            return None
        return tree_map(lambda leaf: _repeated(leaf, size, copies), (args, dict(kwargs)))

    with gate(model, experts.repeat_interleave(size, 0)):
        opened, slot.copies = slot.gate, copies
        hook = fork(model).register_forward_pre_hook(repeated, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()


def fork(model: nn.Module) -> nn.Module:
    """The deepest module before whose input no adapted layer runs, and past which no other tensor of the batch leads.

    The model's own children are taken for a chain in the order of their registration, as timm's are; only
    ``nn.Sequential`` is trusted to be one further down. Where that is wrong, B and E·B rows meet, and the model raises.
    """
    while True:
        first = next((child for child in model.children() if _adapted(child)), None)
        if first is None or isinstance(first, nn.ModuleList | nn.ModuleDict):  # a layer itself; those are never called
            return model
        model = first
        if not isinstance(model, nn.Sequential):
            return model


def _adapted(module: nn.Module) -> bool:
    return any(isinstance(getattr(inner, "slot", None), GateSlot) for inner in module.modules())


def _repeated(leaf: object, size: int, copies: int) -> object:
    if isinstance(leaf, Tensor) and leaf.dim() and len(leaf) == size:
        return leaf.repeat(copies, *[1] * (leaf.dim() - 1))
    return leaf
