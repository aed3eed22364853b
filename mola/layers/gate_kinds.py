"""The two kinds of gate, which say what experts each sample gets, and how a tensor is read as one of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mola.types import BadInput


@dataclass(eq=False)
class IndexGate:
    """Each sample has one expert. Nothing of shape (B, E) is built.

    index:   (B,) int64, the expert of each sample, on the CPU. Like all tensors here it is the gate's own: a caller may
             fill theirs anew before the backward pass.
    counts:  the number of samples of each expert, E numbers.
    order:   (B,) int64 that sorts the batch by expert, on the layers' device; None where it is sorted already.
    placed:  index on the layers' device.
    present: the experts that have samples, in ascending order.
    inverse: (B,) int64 that undoes ``order``; None where that is.
    sorted:  the gate of the sorted batch; None where ``order`` is.
    """

    index: Tensor
    counts: tuple[int, ...]
    order: Tensor | None
    placed: Tensor
    present: tuple[int, ...] = field(init=False)
    inverse: Tensor | None = field(init=False, default=None)
    sorted: IndexGate | None = field(init=False, default=None)

    @property
    def size(self) -> int:
        """B."""
        return len(self.index)

    def __post_init__(self) -> None:
        # All at once, not when first asked for: torch.compile can't trace cached properties.
        self.present = tuple(expert for expert, count in enumerate(self.counts) if count)
        if self.order is not None:
            self.inverse = self.order.argsort()
            self.sorted = IndexGate(self.index.sort().values, self.counts, None, self.placed[self.order])


@dataclass(frozen=True, eq=False)
class WeightGate:
    """Each sample weighs all experts, or those that a sparse gate uses at all.

    weights: (B, E), or (B, experts used).
    experts: (experts used,) int64 on the layers' device; None for all.
    chosen:  of a sparse gate, the same sample by sample: weights (B, k), and the numbers of the experts (B, k) int64 on
             the layers' device, a copy.
    """

    weights: Tensor
    experts: Tensor | None = None
    chosen: tuple[Tensor, Tensor] | None = None

    @property
    def size(self) -> int:
        """B. (``len`` would fix the batch size of an exported program.)"""
        return self.weights.shape[0]


Gate = IndexGate | WeightGate


def one_hot(index: Tensor, experts: int, device: torch.device) -> WeightGate:
    """The weights (B, E) that mean the same as an index gate (B,). Their computation has the same shapes whatever the
    indices are, as a compiled or exported program needs it.
    """
    return WeightGate(torch.nn.functional.one_hot(index.to(device), experts).to(torch.get_default_dtype()))


def as_gate(gate: object, experts: int, device: torch.device) -> Gate:
    """The gate that a tensor, or a pair of tensors, means for layers of E experts on a device.

    gate: as :func:`mola.layers.gates.gate` takes it. Raises BadInput for anything else.
    """
    if isinstance(gate, tuple) and len(gate) == 2 and all(isinstance(part, Tensor) for part in gate):
        return _sparse(*gate, experts, device)
    expected = f"expected a (B,) int64 tensor of expert indices or a (B, {experts}) floating-point tensor of weights"
    if not isinstance(gate, Tensor):
        raise BadInput(f"gate: {expected}, found {type(gate).__name__}")
    if gate.dim() == 2 and gate.is_floating_point() and gate.shape[1] == experts:
        _check_weights(gate, device)
        return WeightGate(gate)
    if gate.dim() != 1 or gate.dtype != torch.int64:
        raise BadInput(f"gate: {expected}, found {_shape_and_type(gate)}")
    if torch.compiler.is_compiling():
        return one_hot(gate, experts, device)
    index = _indices(gate, experts, device)
    counts = tuple(torch.bincount(index, minlength=experts).tolist())
    order = None if bool((index[1:] >= index[:-1]).all()) else index.argsort(stable=True).to(device)
    return IndexGate(index, counts, order, index.to(device))


def as_indices(gate: object, names: tuple[str, ...] | None) -> object:
    """A gate of experts' names as (B,) int64 indices; any other gate as it is. Raises BadInput for unknown names."""
    if not isinstance(gate, list | tuple) or not gate or not all(isinstance(name, str) for name in gate):
        return gate
    if names is None:
        raise BadInput(
            "gate: expected a tensor, as the experts have no names, found names; adapt(experts=[…]) gives them"
        )
    if unknown := [name for name in gate if name not in names]:
        raise BadInput(f"gate: expected names among {', '.join(names)}, found '{unknown[0]}'")
    return torch.tensor([names.index(name) for name in gate])


def _sparse(weights: Tensor, chosen: Tensor, experts: int, device: torch.device) -> WeightGate:
    if weights.dim() != 2 or weights.shape != chosen.shape or not weights.is_floating_point():
        pair = f"{_shape_and_type(weights)} and {_shape_and_type(chosen)}"
        raise BadInput(f"gate: expected (B, k) floating-point weights and (B, k) int64 experts, found {pair}")
    if not weights.shape[1]:
        raise BadInput("gate: expected an expert or more for each sample, found (B, 0) weights")
    if chosen.dtype != torch.int64:
        raise BadInput(f"gate: expected int64 experts, found {_shape_and_type(chosen)}")
    _check_weights(weights, device)
    used, place = _indices(chosen, experts, device).unique(return_inverse=True)  # type: ignore[no-untyped-call]
    chosen_by = place.to(device)[:, :, None] == torch.arange(len(used), device=device)  # (B, k, experts used)
    # A product and a sum, as scatter_add has no deterministic form on CUDA.
    return WeightGate(
        (weights[:, :, None] * chosen_by).sum(1), used.to(device), (weights, chosen.to(device, copy=True))
    )


def _indices(gate: Tensor, experts: int, device: torch.device) -> Tensor:
    """The indices on the CPU, a copy. The one time that a GPU is waited for; indices that are on the CPU spare it."""
    if gate.device not in (torch.device("cpu"), device):
        raise BadInput(f"gate: expected indices on the CPU or on {device}, found them on {gate.device}")
    gate = gate.detach().to("cpu", copy=True)
    if gate.numel():
        low, high = (int(end) for end in torch.aminmax(gate))
        if low < 0 or high >= experts:
            raise BadInput(f"gate: expected expert indices from 0 to {experts - 1}, found {low if low < 0 else high}")
    return gate


def _check_weights(gate: Tensor, device: torch.device) -> None:
    if gate.device != device:
        raise BadInput(f"gate: expected weights on {device}, where the layers are, found them on {gate.device}")
    if torch.compiler.is_compiling() or is_tracing() or not (device.type == "cpu" or torch.is_anomaly_enabled()):
        return
    # one number is looked at: of finite weights the sum may be infinite, of others it is never finite
    if not bool(gate.detach().sum().isfinite()) and not bool(gate.isfinite().all()):
        row = int((~gate.isfinite()).any(1).nonzero()[0])
        raise BadInput(f"gate: expected finite weights, found {gate[row].tolist()} for sample {row}")


def is_tracing() -> bool:
    """Whether torch.jit.trace, or ONNX's older exporter, records what is computed now."""
    return bool(torch._C._get_tracing_state())


def _shape_and_type(gate: Tensor) -> str:
    return f"{tuple(gate.shape)} {str(gate.dtype).removeprefix('torch.')}"
