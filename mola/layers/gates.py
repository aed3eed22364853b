"""Opening a gate: it is opened once around a model's forward pass and reaches all adapted layers by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from mola.layers.gate_kinds import Gate, IndexGate, as_gate
from mola.layers.ordering import restore_rows, sort_rows
from mola.types import BadInput


@contextmanager
def gate(model: nn.Module, gate: Tensor | tuple[Tensor, Tensor]) -> Iterator[None]:
    """Open a gate for all adapted layers inside ``model`` until the block ends. Gates nest: the inner one counts.

    gate: (B,) int64, the expert of each sample (MoLA-Grad); or (B, E) floating point, the weight of each expert
          (MoLA-Router); or what ``torch.topk`` returns, (B, k) weights and (B, k) int64 experts: then experts that no
          sample chose cost nothing.
    Raises ValueError, before any computation, for a gate of another shape, type or device, for an expert outside
    0 … E − 1, and for a model that was never adapted; under ``torch.autograd.detect_anomaly`` for NaN.

    Indices may lie on the CPU while the model is on a GPU; those on the GPU are read back once (the number of samples
    of each expert decides the shapes of the computation). The model runs on the batch sorted by expert and its output
    is put back, so inside it samples come in another order: that matters only to a model that doesn't treat them alike.
    Activation checkpointing recomputes the layers in backward with the gate of their forward.
    """
    slots: dict[GateSlot, torch.device] = {}
    for module in model.modules():
        if isinstance(slot := getattr(module, "slot", None), GateSlot):
            slots[slot] = module.weight.device  # type: ignore  # of a replica too, which has no parameters()
            if (expert := getattr(module, "merged_expert", None)) is not None:
                raise BadInput(f"gate: the model is merged with expert {expert}; unmerge it first")
    if not slots:
        raise BadInput("gate: the model has no adapted layer; call mola.adapt(model, ...) first")
    gates = [as_gate(gate, slot.experts, device) for slot, device in slots.items()]
    before = [(slot.gate, slot.unsorted, slot.copies, slot.opened_in_backward) for slot in slots]
    for slot, opened in zip(slots, gates, strict=True):
        slot.gate, slot.unsorted, slot.copies, slot.opened_in_backward = opened, None, 1, _is_recomputing()
    try:
        yield
    finally:
        for slot, values in zip(slots, before, strict=True):
            slot.gate, slot.unsorted, slot.copies, slot.opened_in_backward = values


class GateSlot:
    """Where the open gate lies; one object that all adapted layers of a model share. ``deepcopy`` gives the copy a
    slot of its own.

    Its two hooks on the model sort the batch by expert once, at the entry, and put the output back into the batch's
    order; the layers between get it sorted.

    gate:               the open gate; None where none is.
    unsorted:           while the model runs on a sorted batch: the gate of the batch as it came, and the one to put
                        back at the exit.
    copies:             gate entries for each sample at the model's entry, see :func:`mola.layers.expand.every_expert`.
    opened_in_backward: whether the gate was opened by what activation checkpointing recomputes.
    """

    def __init__(self, experts: int) -> None:
        self.experts = experts
        self.gate: Gate | None = None
        self.unsorted: tuple[IndexGate, Gate | None] | None = None
        self.copies = 1
        self.opened_in_backward = False
        self.backward = BackwardCount()
        self.last_forward = LastForward()

    def __getstate__(self) -> dict[str, int]:
        # An open gate belongs to one forward pass: it is neither copied nor pickled.
        return {"experts": self.experts}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def order(self) -> Tensor | None:
        """(B,) int64 that sorted the batch which the layers get now, on their device; None for the batch as it came."""
        return self.unsorted[0].order if self.unsorted else None

    def sort_inputs(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The forward pre-hook. Only a single tensor is sorted, wherever it stands among the arguments; the layers of
        models that take several sort for themselves. Raises BadInput where no tensor has as many samples as the gate.

        Where activation checkpointing recomputes the whole model, it gets the batch as it came, whatever gate is open.
        """
        gate = self.gate
        if _is_recomputing() and not self.opened_in_backward:
            self._check_unambiguous()
            gate = self.last_forward.unsorted or self.last_forward.gate or gate
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.dim()]
        if gate is None or not tensors:
            return None
        # Not in an exported program, which takes any batch size.
        if not torch.compiler.is_compiling() and all(self.copies * len(leaf) != gate.size for leaf in tensors):
            sizes = " or ".join(str(len(leaf)) for leaf in tensors)
            raise BadInput(f"gate: expected one entry per sample, found {gate.size // self.copies} for {sizes} samples")
        if len(tensors) > 1 or not isinstance(gate, IndexGate) or gate.order is None:
            return None
        self.unsorted, self.gate = (gate, self.gate), gate.sorted
        return sort_rows((args, dict(kwargs)), gate.order)

    def restore_output(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """The forward hook. It is called after an exception too."""
        if self.unsorted is None:
            return None
        (gate, self.gate), self.unsorted = self.unsorted, None
        assert gate.inverse is not None
        return restore_rows(output, gate.inverse)

    def current(self) -> Gate | None:
        """The gate for a layer that runs now.

        A layer that activation checkpointing recomputes runs inside whatever gate is open in backward, or none: it
        gets the gate of its forward pass, in the order that the batch had then. Raises RuntimeError where several
        forward passes under different gates wait for their backward. Where the recomputation opens a gate itself, that
        is the gate: it carries the gradient to what it was computed from.
        """
        gate, unsorted = self.gate, self.unsorted[0] if self.unsorted else None
        if _is_recomputing():
            # Counted here, as a frozen layer with a frozen input has no backward computation that would be.
            self.backward.add()
            if self.opened_in_backward:
                # For activation checkpointing within what is recomputed.
                self.last_forward = replace(self.last_forward, gate=gate, unsorted=unsorted)
                return gate
            self._check_unambiguous()
            return self.last_forward.gate or gate
        if gate is not None and not torch.compiler.is_compiling():
            self.last_forward = self.last_forward.followed_by(gate, unsorted, self.backward.count)
        return gate

    def count_backward(self, y: Tensor) -> Tensor:
        """A layer's output, unchanged, whose backward computation will be counted."""
        if y.requires_grad and not torch.compiler.is_compiling():
            y.register_hook(self.backward.add)  # type: ignore[no-untyped-call]
        return y

    def _check_unambiguous(self) -> None:
        if self.last_forward.ambiguous:
            raise RuntimeError(
                "gate: layers ran under several gates, or past the model's entry, since the last backward pass, so "
                "a checkpoint can't tell which to recompute with; call backward after each forward pass"
            )


@dataclass(eq=False)
class BackwardCount:
    """How many backward computations the layers of a model have had, to tell whether there was one since a forward
    pass. It is an object of its own so that the autograd graph, which holds it, holds no gate.
    """

    count: int = 0

    def add(self, grad: Tensor | None = None) -> None:
        """A hook on a gradient."""
        self.count += 1


@dataclass(frozen=True, eq=False)
class LastForward:
    """Under which gate the layers ran last, for those that activation checkpointing recomputes.

    unsorted:  the gate of the batch as it came to the model, where that was sorted for ``gate``.
    ambiguous: whether it was another one before, with no backward pass between.
    recorded:  whether gradients were recorded; what ran without them (evaluation) waits for no backward pass.
    backward:  how many backward computations there had been then.
    """

    gate: Gate | None = None
    unsorted: IndexGate | None = None
    ambiguous: bool = False
    recorded: bool = False
    backward: int = -1

    def followed_by(self, gate: Gate, unsorted: IndexGate | None, backward: int) -> LastForward:
        """What to remember after a layer ran under ``gate``."""
        recorded = torch.is_grad_enabled()
        waiting = self.recorded and self.backward == backward
        if waiting and (gate is self.gate or not recorded):
            return self
        return LastForward(gate, unsorted, waiting, recorded, backward)


def _is_recomputing() -> bool:
    """Whether a backward pass is going on: what runs forward in it is recomputed by activation checkpointing."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1  # type: ignore[attr-defined]
