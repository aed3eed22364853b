"""Which expert each sample gets: the open gate, which the adapted layers inside a model find by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from mola.layers.gate_kinds import Gate, as_gate, as_indices, is_tracing
from mola.types import BadInput


@contextmanager
def gate(model: nn.Module, gate: Tensor | tuple[Tensor, Tensor] | Sequence[str]) -> Iterator[None]:
    """Open a gate for all adapted layers inside ``model`` until the block ends. Gates nest: the inner one counts.

    gate: (B,) int64, the expert of each sample (MoLA-Grad); or (B, E) floating point, the weight of each expert
          (MoLA-Router), of any sign and any sum; or what ``torch.topk`` returns, (B, k) weights and (B, k) int64
          experts: then experts that no sample chose cost nothing; or, where the experts have names, B of these.
    Raises ValueError, before any computation, for a gate of another shape, type or device, for an expert outside
    0 … E − 1, for weights on the CPU that are not finite (on a GPU only under ``torch.autograd.detect_anomaly``, as
    looking would wait for it), and for a model that was never adapted.

    Indices may lie on the CPU while the model is on a GPU; those on the GPU are read back once (the number of samples
    of each expert decides the shapes of the computation). A layer groups the samples of an expert for itself, and puts
    its output back: everything between the layers sees the batch as it came. A batch that is sorted by expert already
    saves them that.
    A gate is open for the thread and the asyncio task that opened it, and for no other. Activation checkpointing
    recomputes the layers in backward with the gate of their forward.
    """
    with open_gates(model, gate):
        yield


@contextmanager
def open_gates(
    model: nn.Module, gate: Tensor | tuple[Tensor, Tensor] | Sequence[str], copies: int = 1, order: Tensor | None = None
) -> Iterator[tuple[OpenGate, ...]]:
    """What :func:`gate` does, with what else an :class:`OpenGate` says of its pass; gives one for each slot."""
    slots: dict[GateSlot, torch.device] = {}
    for module in model.modules():
        if isinstance(slot := getattr(module, "slot", None), GateSlot):
            slots[slot] = module.weight.device  # type: ignore  # of a replica too, which has no parameters()
            if (merged := getattr(module, "merged", None)) is not None:
                raise BadInput(f"gate: the model is merged with expert {merged.title}; unmerge it first")
    if not slots:
        raise BadInput("gate: the model has no adapted layer; call mola.adapt(model, ...) first")
    recomputing = _is_recomputing()
    opened = tuple(
        OpenGate(slot, as_gate(as_indices(gate, slot.names), slot.experts, device), recomputing, copies, order)
        for slot, device in slots.items()
    )
    # torch.compile can't trace the setting of a context variable; what it traces is of one thread
    tracing = torch.compiler.is_compiling()
    if tracing:
        for each in opened:
            each.slot.traced = (*each.slot.traced, each)
    else:
        _OPEN.set(_OPEN.get() + opened)
    try:
        yield opened
    finally:
        for each in opened:
            each.closed = True
        if tracing:
            for each in opened:
                each.slot.traced = each.slot.traced[:-1]
        else:
            # not the gates of before: a generator may end after blocks that were opened while it waited
            _OPEN.set(tuple(each for each in _OPEN.get() if not each.closed))


@dataclass(eq=False)
class OpenGate:
    """A gate while its block lasts.

    slot:        of the layers that it is for.
    gate:        the gate.
    in_backward: whether it was opened by what activation checkpointing recomputes.
    copies:      gate entries for each sample at the model's entry, see :func:`mola.layers.expand.every_expert`.
    order:       (B,) int64 that sorted the batch which the model gets, see :func:`mola.layers.ordering.sorted_pass`.
    closed:      whether the block has ended, perhaps in another thread.
    """

    slot: GateSlot
    gate: Gate
    in_backward: bool = False
    copies: int = 1
    order: Tensor | None = None
    closed: bool = False


_OPEN: ContextVar[tuple[OpenGate, ...]] = ContextVar("open gates", default=())


class GateSlot:
    """What all adapted layers of a model have in common: how the open gate is found that is theirs. ``deepcopy`` gives
    the copy a slot of its own.

    names:  of the experts, where they have any.
    traced: the gates that were opened inside what torch.compile traces now.
    """

    def __init__(self, experts: int, names: tuple[str, ...] | None = None) -> None:
        self.experts, self.names = experts, names
        self.traced: tuple[OpenGate, ...] = ()
        self.backward = BackwardCount()
        self.last_forward = LastForward()

    def __getstate__(self) -> dict[str, Any]:
        # An open gate belongs to one forward pass: it is neither copied nor pickled.
        return {"experts": self.experts, "names": self.names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def opened(self) -> OpenGate | None:
        """The innermost gate that is open here for these layers."""
        if self.traced:
            return self.traced[-1]
        for each in reversed(_OPEN.get()):
            if each.slot is self and not each.closed:
                return each
        return None

    def check_inputs(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """The model's forward pre-hook. Raises BadInput where no tensor has as many samples as the gate."""
        # an exported program takes any batch size
        if torch.compiler.is_compiling() or is_tracing() or _is_recomputing() or (opened := self.opened) is None:
            return
        sizes = [len(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.dim()]
        if sizes and all(opened.copies * size != opened.gate.size for size in sizes):
            number, actual = opened.gate.size // opened.copies, " or ".join(map(str, sizes))
            raise BadInput(f"gate: expected one entry per sample, found {number} for {actual} samples")

    def check_batch_first(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """The forward pre-hook of a module that takes sequences first. Raises BadInput where samples and steps are
        equally many, so that layers could take one for the other.
        """
        if torch.compiler.is_compiling() or (opened := self.opened) is None:
            return
        first = next((leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)), None)
        if first is not None and first.dim() == 3 and first.shape[0] == first.shape[1] == opened.gate.size:
            kind = type(module).__name__
            raise BadInput(
                f"gate: a {kind} that takes sequences first gets {first.shape[0]} samples of as many steps: layers "
                "can't tell which is which; set batch_first=True, or change the batch size"
            )

    def current(self) -> Gate | None:
        """The gate for a layer that runs now.

        A layer that activation checkpointing recomputes runs inside whatever gate is open in backward, or none: it
        gets the gate of its forward pass. Raises RuntimeError where several forward passes under different gates wait
        for their backward. Where the recomputation opens a gate itself, that is the gate: it carries the gradient to
        what it was computed from.
        """
        opened = self.opened
        gate = None if opened is None else opened.gate
        if _is_recomputing():
            # Counted here, as a frozen layer with a frozen input has no backward computation that would be.
            self.backward.add()
            if opened is not None and opened.in_backward:
                # For activation checkpointing within what is recomputed.
                self.last_forward = replace(self.last_forward, gate=gate)
                return gate
            self._check_unambiguous()
            return self.last_forward.gate or gate
        if gate is not None and not torch.compiler.is_compiling():
            self.last_forward = self.last_forward.followed_by(gate, self.backward.count)
        return gate

    def count_backward(self, y: Tensor) -> Tensor:
        """A layer's output, unchanged, whose backward computation will be counted."""
        if y.requires_grad and not torch.compiler.is_compiling():
            y.register_hook(self.backward.add)  # type: ignore[no-untyped-call]
        return y

    def _check_unambiguous(self) -> None:
        if self.last_forward.ambiguous:
            raise RuntimeError(
                "gate: layers ran under several gates since the last backward pass, so a checkpoint can't tell which "
                "to recompute with; call backward after each forward pass"
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

    ambiguous: whether it was another one before, with no backward pass between.
    recorded:  whether gradients were recorded; what ran without them (evaluation) waits for no backward pass.
    backward:  how many backward computations there had been then.
    """

    gate: Gate | None = None
    ambiguous: bool = False
    recorded: bool = False
    backward: int = -1

    def followed_by(self, gate: Gate, backward: int) -> LastForward:
        """What to remember after a layer ran under ``gate``."""
        recorded = torch.is_grad_enabled()
        waiting = self.recorded and self.backward == backward
        if waiting and (gate is self.gate or not recorded):
            return self
        return LastForward(gate, waiting, recorded, backward)


def _is_recomputing() -> bool:
    """Whether a backward pass is going on: what runs forward in it is recomputed by activation checkpointing."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1  # type: ignore[attr-defined]
