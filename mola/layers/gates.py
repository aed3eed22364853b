"""Gates: which experts a sample gets. One gate is opened around a model's forward and reaches all its adapted
layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from mola.types import BadInput


@dataclass(eq=False)
class IndexGate:
    """Each sample has one expert. Nothing of shape (B, E) is built.

    index:  (B,) int64, the expert of each sample, on the CPU.
    counts: samples of each expert, E numbers.
    order:  (B,) int64 that sorts the batch by expert, on the layers' device; None where it is sorted already.
    """

    index: Tensor
    counts: tuple[int, ...]
    order: Tensor | None
    present: tuple[int, ...] = field(init=False)  # the experts that have samples, in order
    inverse: Tensor | None = field(init=False)  # (B,) int64 that undoes ``order``
    in_order: IndexGate | None = field(init=False)  # the gate of the sorted batch; both None where ``order`` is

    @property
    def size(self) -> int:
        """B."""
        return len(self.index)

    def __post_init__(self) -> None:
        # all at once, not when first asked for: torch.compile can't trace cached properties
        self.present = tuple(expert for expert, count in enumerate(self.counts) if count)
        self.inverse = self.in_order = None
        if self.order is not None:
            self.inverse = self.order.argsort()
            self.in_order = IndexGate(self.index.sort().values, self.counts, None)


@dataclass(frozen=True, eq=False)
class WeightGate:
    """Each sample weighs all experts, or those that a sparse gate uses at all.

    weights: (B, E), or (B, experts used).
    experts: (experts used,) int64 on the layers' device; None for all.
    """

    weights: Tensor
    experts: Tensor | None = None

    @property
    def size(self) -> int:
        """B."""
        return self.weights.shape[0]  # len() would fix the batch of an exported program


Gate = IndexGate | WeightGate


@dataclass(eq=False)
class Passes:
    """Counts the backward computations of a model's layers: was there one since a forward pass? An object of its own,
    so that the autograd graph, which holds it, holds no gate.
    """

    backward: int = 0

    def count(self, grad: Tensor | None = None) -> None:
        """A hook on a gradient."""
        self.backward += 1


class GateSlot:
    """Where the open gate lies; one object that all adapted layers of a model share. ``deepcopy`` gives the copy a
    slot of its own.

    Its two hooks on the model sort the batch by expert once, at the entry, and put the output back into the batch's own
    order; the layers between find it sorted.
    """

    def __init__(self, experts: int) -> None:
        self.experts = experts
        self.gate: Gate | None = None
        # while the model runs on a sorted batch: the gate of the batch as it came, and the one to put back
        self.outside: tuple[IndexGate, Gate | None] | None = None
        self.copies = 1  # gate entries for each sample at the model's entry, see fan_out
        self.opened_again = False  # whether the gate was opened in a backward pass, by what a checkpoint runs again
        self.passes = Passes()
        self.ran = Ran()

    def __getstate__(self) -> dict[str, int]:
        return {"experts": self.experts}  # an open gate belongs to one forward: neither copied nor pickled

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """The forward pre-hook. Only a single tensor is sorted, wherever it stands among the arguments; other models'
        layers sort for themselves. Raises BadInput where no tensor has as many samples as the gate.
        In a backward pass a checkpoint runs the whole model again: on the batch as it came, whatever gate is open.
        """
        gate = self.gate
        if _recomputes() and not self.opened_again:
            self._check_alone()
            gate = self.ran.outside or self.ran.gate or gate
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.dim()]
        if gate is None or not tensors:
            return None
        # not in an exported program: it takes any batch
        if not torch.compiler.is_compiling() and all(self.copies * len(leaf) != gate.size for leaf in tensors):
            found = f"found {gate.size // self.copies} for {' or '.join(str(len(leaf)) for leaf in tensors)} samples"
            raise BadInput(f"gate: expected one entry per sample, {found}")
        if len(tensors) > 1 or not isinstance(gate, IndexGate) or gate.order is None:
            return None
        self.outside, self.gate = (gate, self.gate), gate.in_order
        order = gate.order

        return tree_map(
            lambda leaf: leaf[order] if isinstance(leaf, Tensor) and leaf.dim() else leaf, (args, dict(kwargs))
        )

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """The forward hook. Called after an exception too."""
        if self.outside is None:
            return None
        (gate, self.gate), self.outside = self.outside, None
        return tree_map(lambda leaf: _unsorted(leaf, gate), output)

    def current(self) -> Gate | None:
        """The gate for a layer that runs now.

        A layer that runs in a backward pass is recomputed from a checkpoint, inside whatever gate is open there, or
        none: it gets the gate of its forward pass, in the order that the batch had then. Raises RuntimeError where
        several forward passes wait for their backward under different gates. Where the recomputation opens a gate
        itself, that is the gate: it carries the gradient to what made it.
        """
        gate, outside = self.gate, self.outside[0] if self.outside else None
        if _recomputes():
            self.passes.count()  # a layer that is frozen and gets a frozen input counts none of its own
            if self.opened_again:
                self.ran = replace(self.ran, gate=gate, outside=outside)  # for a checkpoint within this one
                return gate
            self._check_alone()
            return self.ran.gate or gate
        if gate is not None and not torch.compiler.is_compiling():
            self.ran = self.ran.then(gate, outside, self.passes.backward)
        return gate

    def awaited(self, y: Tensor) -> Tensor:
        """A layer's output, whose backward computation is to be counted."""
        if y.requires_grad and not torch.compiler.is_compiling():
            y.register_hook(self.passes.count)  # type: ignore[no-untyped-call]
        return y

    def _check_alone(self) -> None:
        if self.ran.several:
            raise RuntimeError(
                "gate: layers ran under several gates, or past the model's entry, since the last backward pass, so "
                "a checkpoint can't tell which to recompute with; call backward after each forward pass"
            )


def _recomputes() -> bool:
    """Whether a backward pass is going on: what runs forward in it is recomputed from a checkpoint."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1  # type: ignore[attr-defined]


@dataclass(frozen=True, eq=False)
class Ran:
    """Under which gate the layers ran last, for those that a checkpoint runs again.

    outside:  the gate of the batch as it came to the model, where that was sorted for ``gate``.
    several:  whether it was another one before, with no backward pass between.
    graph:    whether gradients were recorded; what ran without them (evaluation) waits for no backward pass.
    backward: how many backward computations there had been then.
    """

    gate: Gate | None = None
    outside: IndexGate | None = None
    several: bool = False
    graph: bool = False
    backward: int = -1

    def then(self, gate: Gate, outside: IndexGate | None, backward: int) -> Ran:
        """After a layer ran under ``gate``."""
        graph = torch.is_grad_enabled()
        waiting = self.graph and self.backward == backward
        if waiting and (gate is self.gate or not graph):
            return self
        return Ran(gate, outside, waiting, graph, backward)


def _unsorted(leaf: object, gate: IndexGate) -> object:
    """Tensors with one row per sample in the batch's own order; numbers as they are. Whether a tensor of another
    length holds samples, and in which order, can't be known: RuntimeError.
    """
    if isinstance(leaf, Tensor) and (leaf.dim() == 0 or len(leaf) == gate.size):
        return leaf[gate.inverse] if leaf.dim() else leaf
    if isinstance(leaf, Tensor):
        raise RuntimeError(
            f"gate: can't put an output {tuple(leaf.shape)} back into the order of {gate.size} samples; let the model "
            "return one row per sample, or sort the batch by expert"
        )
    if leaf is None or isinstance(leaf, bool | int | float | str):
        return leaf
    raise RuntimeError(
        f"gate: can't put a {type(leaf).__name__} back into the batch's order; let the model return tensors, in lists "
        "or dictionaries if need be, or sort the batch by expert"
    )


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
    The backward of checkpointed activations runs the layers again, with the gate of their forward.
    """
    found: dict[GateSlot, torch.device] = {}
    for module in model.modules():
        if isinstance(slot := getattr(module, "slot", None), GateSlot):
            found[slot] = module.weight.device  # type: ignore  # of a replica too, which has no parameters()
            if (expert := getattr(module, "merged_expert", None)) is not None:
                raise BadInput(f"gate: the model is merged with expert {expert}; unmerge it first")
    if not found:
        raise BadInput("gate: the model has no adapted layer; call mola.adapt(model, ...) first")
    opened = [(slot, checked(gate, slot.experts, device)) for slot, device in found.items()]
    before = [(slot.gate, slot.outside, slot.copies, slot.opened_again) for slot, _ in opened]
    for slot, new in opened:
        slot.gate, slot.outside, slot.copies, slot.opened_again = new, None, 1, _recomputes()
    try:
        yield
    finally:
        for (slot, _), old in zip(opened, before, strict=True):
            slot.gate, slot.outside, slot.copies, slot.opened_again = old


def checked(gate: object, experts: int, device: torch.device) -> Gate:
    """The gate that a tensor, or a pair, means for layers of E experts on a device. Raises ValueError."""
    if isinstance(gate, tuple) and len(gate) == 2 and all(isinstance(part, Tensor) for part in gate):
        return _sparse(*gate, experts, device)
    expected = f"expected a (B,) int64 tensor of expert indices or a (B, {experts}) floating-point tensor of weights"
    if not isinstance(gate, Tensor):
        raise BadInput(f"gate: {expected}, found {type(gate).__name__}")
    if gate.dim() == 2 and gate.is_floating_point() and gate.shape[1] == experts:
        _check_weights(gate, device)
        return WeightGate(gate)
    if gate.dim() != 1 or gate.dtype != torch.int64:
        raise BadInput(f"gate: {expected}, found {_kind(gate)}")
    index = _indices(gate, experts, device)
    counts = tuple(torch.bincount(index, minlength=experts).tolist())
    order = None if bool((index[1:] >= index[:-1]).all()) else index.argsort(stable=True).to(device)
    return IndexGate(index, counts, order)


def _sparse(weights: Tensor, chosen: Tensor, experts: int, device: torch.device) -> WeightGate:
    if weights.dim() != 2 or weights.shape != chosen.shape or not weights.is_floating_point():
        wanted = "expected (B, k) floating-point weights and (B, k) int64 experts"
        raise BadInput(f"gate: {wanted}, found {_kind(weights)} and {_kind(chosen)}")
    if chosen.dtype != torch.int64:
        raise BadInput(f"gate: expected int64 experts, found {_kind(chosen)}")
    _check_weights(weights, device)
    used, place = _indices(chosen, experts, device).unique(return_inverse=True)  # type: ignore[no-untyped-call]
    chosen_by = place.to(device)[:, :, None] == torch.arange(len(used), device=device)  # (B, k, experts used)
    dense = (weights[:, :, None] * chosen_by).sum(1)  # scatter_add has no deterministic form on CUDA
    return WeightGate(dense, used.to(device))


def _indices(gate: Tensor, experts: int, device: torch.device) -> Tensor:
    if gate.device not in (torch.device("cpu"), device):
        raise BadInput(f"gate: expected indices on the CPU or on {device}, found them on {gate.device}")
    gate = gate.detach().cpu()  # the one time that a GPU is waited for: labels that are on the CPU already spare it
    if gate.numel():
        low, high = (int(end) for end in torch.aminmax(gate))
        if low < 0 or high >= experts:
            raise BadInput(f"gate: expected expert indices from 0 to {experts - 1}, found {low if low < 0 else high}")
    return gate


def _check_weights(gate: Tensor, device: torch.device) -> None:
    if gate.device != device:
        raise BadInput(f"gate: expected weights on {device}, where the layers are, found them on {gate.device}")
    if not torch.compiler.is_compiling() and torch.is_anomaly_enabled() and bool(gate.isnan().any()):
        row = int(gate.isnan().any(1).nonzero()[0])
        raise BadInput(f"gate: expected finite weights, found NaN for sample {row}")


def _kind(gate: Tensor) -> str:
    return f"{tuple(gate.shape)} {str(gate.dtype).removeprefix('torch.')}"
