"""Gates: which experts a sample gets. One gate is opened around a model's forward and reaches all its adapted
layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from mola.types import BadInput


@dataclass(frozen=True)
class IndexGate:
    """Each sample has one expert. Nothing of shape (B, E) is built.

    counts:  samples of each expert, E numbers.
    present: the experts that have samples, in order.
    order:   (B,) int64 that sorts the batch by expert; None where it is sorted already.
    """

    size: int
    counts: tuple[int, ...]
    order: Tensor | None

    @cached_property
    def present(self) -> tuple[int, ...]:
        return tuple(expert for expert, count in enumerate(self.counts) if count)


@dataclass(frozen=True)
class WeightGate:
    """Each sample weighs all experts; ``weights``: (B, E)."""

    weights: Tensor

    @property
    def size(self) -> int:
        """B."""
        return len(self.weights)


Gate = IndexGate | WeightGate


class GateSlot:
    """Where the open gate lies; one object that all adapted layers of a model share. ``deepcopy`` gives the copy a
    slot of its own.
    """

    def __init__(self, experts: int) -> None:
        self.experts = experts
        self.gate: Gate | None = None

    def __getstate__(self) -> dict[str, int]:
        return {"experts": self.experts}  # an open gate belongs to one forward: neither copied nor pickled

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(**state)  # type: ignore[misc]


@contextmanager
def gate(model: nn.Module, gate: Tensor) -> Iterator[None]:
    """Open a gate for all adapted layers inside ``model`` until the block ends. Gates nest: the inner one counts.

    gate: (B,) int64, the expert of each sample (MoLA-Grad), or (B, E) floating point, the weight of each expert
          (MoLA-Router).
    Raises ValueError, before any computation, for a gate of another shape or type, for an expert outside 0 … E − 1,
    and for a model that was never adapted.

    An index gate may lie on the CPU while the model is on a GPU; one on the GPU is read back once (the number of
    samples of each expert decides the shapes of the computation). The backward of checkpointed activations runs the
    layers again: keep it inside the block.
    """
    found: dict[GateSlot, torch.device] = {}
    for module in model.modules():
        if isinstance(slot := getattr(module, "slot", None), GateSlot):
            found[slot] = next(module.parameters(recurse=False)).device
    if not found:
        raise BadInput("gate: the model has no adapted layer; call mola.adapt(model, ...) first")
    opened = [(slot, checked(gate, slot.experts, device)) for slot, device in found.items()]
    before = [slot.gate for slot, _ in opened]
    for slot, new in opened:
        slot.gate = new
    try:
        yield
    finally:
        for (slot, _), old in zip(opened, before, strict=True):
            slot.gate = old


def checked(gate: Tensor, experts: int, device: torch.device | None = None) -> Gate:
    """The gate that a tensor means, for layers of E experts on a device. Raises ValueError."""
    expected = f"expected a (B,) int64 tensor of expert indices or a (B, {experts}) floating-point tensor of weights"
    if not isinstance(gate, Tensor):
        raise BadInput(f"gate: {expected}, found {type(gate).__name__}")
    if gate.dim() == 2 and gate.is_floating_point() and gate.shape[1] == experts:
        return WeightGate(gate)
    if gate.dim() != 1 or gate.dtype != torch.int64:
        raise BadInput(f"gate: {expected}, found {tuple(gate.shape)} {str(gate.dtype).removeprefix('torch.')}")
    if len(gate) == 0:
        return IndexGate(0, (0,) * experts, None)
    gate = gate.cpu()  # the one time that a GPU is waited for: labels that are on the CPU already spare it
    low, high = (int(end) for end in torch.aminmax(gate))
    if low < 0 or high >= experts:
        raise BadInput(f"gate: expected expert indices from 0 to {experts - 1}, found {low if low < 0 else high}")
    counts = tuple(torch.bincount(gate, minlength=experts).tolist())
    order = None if bool((gate[1:] >= gate[:-1]).all()) else gate.argsort(stable=True).to(device)
    return IndexGate(len(gate), counts, order)
