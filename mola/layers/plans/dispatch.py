"""Execution plans: how an adapted layer computes its output. All are exact; this file is the one place that chooses.

index gate
    grouped   the samples of each expert with W + ΔW_e: a plain layer's operations, and E merged weights.
    separate  y = W x, plus the thin products of each sample's own expert; a convolution's on unfolded columns, but for
              1 × 1 kernels of a rank that is not wide, which take the whole batch at once.
weight gate
    factored  y = W x + B (γ ⊙ A x): operations grow with E, on few channels.
both, and what the others are measured against
    stacked   y = W x + Σ_e γ_e ΔW_e x, one full operation per expert.
    merged    a weight of its own for every sample.

What is chosen, with N positions in the whole batch (samples × H'·W', or tokens):

==============  ===========================================================================================
convolution     separate where E merged weights cost more than the thin products: for a 1 × 1 kernel where
 index gate     FEW_POINTS × E × C_in × C_out > N × (C_in + C_out), for others, which unfold columns, where
                E × (C_out + CALLS) > FEW_COLUMNS × N, of the E experts present; else grouped
convolution     stacked with groups (one more map per expert is cheap there)
 weight gate    merged for a single sample whose N × (operations of the small maps) exceed those of merging
                else factored
linear          separate with an index gate, factored with weights, at any size: merged weights have cost more
                wherever they were timed
==============  ===========================================================================================

Operations alone mislead: per-sample weights look cheapest for large kernels on small maps and took 2.6 to 49 times as
long there on a CPU. ``layer.plan`` forces another; ``mola bench layers --plans`` times them all.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, get_args

import torch
from torch import Tensor

from mola.layers.gates import Gate, IndexGate, WeightGate
from mola.layers.plans.indexed import Grouped, SeparateMaps, SeparatePoints, SeparateRows
from mola.layers.plans.operations import Convolve, Multiply, Operation, no_autocast
from mola.layers.plans.weighted import FactoredConvolution, FactoredRows
from mola.types import BadInput, Plan

if TYPE_CHECKING:
    from mola.layers.adapter import LowRank, LowRankConv2d, LowRankLinear

log = logging.getLogger(__name__)
# Measured on a CPU with AVX-512, unfolding with AVX2 too: a number of a merged weight, made twice, summed in backward,
FEW_POINTS = 5.0  # costs as much as so many numbers of x and y beside a 1 × 1 kernel's thin products,
FEW_COLUMNS = 3.5  # or so many unfolded ones. An expert has convolutions of its own,
CALLS = 128  # which cost as much as so many rows of a merged weight.
WIDE = 2  # A rank above so many times H'·W' is wide: copies of A and B for each sample then cost more than unfolding.


def convolution(layer: LowRankConv2d, x: Tensor, gate: Gate) -> Tensor:
    """(B, C_in, H, W) → (B, C_out, H', W')."""
    x, padding = layer.pad(x)
    operation = Convolve(layer.stride, padding, layer.dilation, layer.groups)
    kernel = layer.weight.shape[2:]
    return _run(
        layer, operation, x, gate, _plan(layer, gate, operation.positions(x, kernel), operation.is_pointwise(kernel))
    )


def linear(layer: LowRankLinear, x: Tensor, gate: Gate) -> Tensor:
    """(B, …, C_in) → (B, …, C_out)."""
    positions = math.prod(x.shape[1:-1])
    flat = x.reshape(x.shape[0], positions, x.shape[-1])
    y = _run(layer, Multiply(), flat, gate, _plan(layer, gate, positions))
    return y.view(*x.shape[:-1], layer.out_features)


def choose(layer: LowRank, gate: Gate, positions: int, pointwise: bool = False) -> Plan:
    """The plan for a layer. positions: of one sample's output, H'·W' or tokens; pointwise: each sees one of x's."""
    groups, flat = getattr(layer, "groups", 1), layer.weight.dim() == 2
    if isinstance(gate, IndexGate):
        return "separate" if groups == 1 and (flat or _few(layer.weight, gate, positions, pointwise)) else "grouped"
    if groups > 1:
        return "stacked"
    rows, width = layer.B.shape[1], layer.A.shape[2]
    if gate.size == 1 and positions * (rows + layer.weight[0].numel()) > rows * width:
        return "merged"
    return "factored"


def _few(weight: Tensor, gate: IndexGate, positions: int, pointwise: bool) -> bool:
    """Whether a convolution's batch has few positions for its experts."""
    experts, everywhere, (out, into) = len(gate.present), gate.size * positions, weight.shape[:2]
    if pointwise:
        return FEW_POINTS * experts * into * out > everywhere * (into + out)
    return experts * (out + CALLS) > FEW_COLUMNS * everywhere


def applicable(layer: LowRank, gate: Gate) -> tuple[Plan, ...]:
    """The plans that a layer can be forced to."""
    own: tuple[Plan, ...] = ("grouped", "separate") if isinstance(gate, IndexGate) else ("factored",)
    ungrouped = getattr(layer, "groups", 1) == 1
    return (*(plan for plan in own if ungrouped or plan == "grouped"), "stacked", "merged")


def checked(plan: str) -> Plan | None:
    """The plan of a name; None for "auto". Raises BadInput."""
    if plan not in ("auto", *get_args(Plan)):
        raise BadInput(f"plan: expected auto, {', '.join(get_args(Plan))}, found '{plan}'")
    return None if plan == "auto" else plan  # type: ignore[return-value]


def _plan(layer: LowRank, gate: Gate, positions: int, pointwise: bool = False) -> Plan:
    plan = layer.plan or choose(layer, gate, positions, pointwise)
    if layer.plan and plan not in (possible := applicable(layer, gate)):
        kind = "an index gate" if isinstance(gate, IndexGate) else "a weight gate"
        raise BadInput(f"plan: {layer} takes {', '.join(possible)} with {kind}, found '{plan}'")
    if not torch.compiler.is_compiling() and layer.last_plan != plan:
        layer.last_plan = plan
        log.debug("%s, %s of %d samples × %d positions: %s", layer, type(gate).__name__, gate.size, positions, plan)
    return plan


def _run(layer: LowRank, operation: Operation, x: Tensor, gate: Gate, plan: Plan) -> Tensor:
    """One plan, in the precision of autocast where that is on; what adds ΔW to W rounds the sum alone."""
    if gate.size == 0:
        return operation(x, layer.weight, layer.bias)
    run = _by_expert if isinstance(gate, IndexGate) else _by_weight
    x = x.to(_precision(x))
    with no_autocast(x):
        return run(layer, operation, x, gate, plan)  # type: ignore[arg-type]


def _by_expert(layer: LowRank, operation: Operation, x: Tensor, gate: IndexGate, plan: Plan) -> Tensor:
    a, b, scale = _adapters(layer)
    if plan == "merged":
        index = gate.index.to(x.device)
        delta = torch.bmm(scale * b[index], a[index])
        return _merged(layer, operation, x, delta)
    if plan == "stacked":
        index = gate.index.to(x.device)
        return _stacked(layer, operation, x, index[:, None] == torch.arange(len(a), device=x.device), a, b)
    if gate.order is not None:
        x = x[gate.order]
    if plan == "grouped":
        y: Tensor = Grouped.apply(x, layer.weight, layer.bias, a, b, scale, gate.counts, operation)
    elif isinstance(operation, Multiply):
        y = SeparateRows.apply(x, layer.weight, layer.bias, a, b, scale, gate.counts)
    elif _on_points(operation, x, layer.weight, a):
        y = SeparatePoints.apply(x, layer.weight, layer.bias, a, b, scale, gate.counts, operation)
    else:
        y = SeparateMaps.apply(x, layer.weight, layer.bias, a, b, scale, gate.counts, operation)
    return y if gate.order is None else y[gate.inverse]


def _on_points(operation: Convolve, x: Tensor, weight: Tensor, a: Tensor) -> bool:
    """Whether a 1 × 1 kernel's thin products take the whole batch at once."""
    kernel = weight.shape[2:]
    return operation.is_pointwise(kernel) and a.shape[1] <= WIDE * operation.positions(x, kernel)


def _by_weight(layer: LowRank, operation: Operation, x: Tensor, gate: WeightGate, plan: Plan) -> Tensor:
    (a, b, scale), gamma = _adapters(layer), gate.weights
    if gate.experts is not None:  # a sparse gate names those that it uses
        a, b = a[gate.experts], b[gate.experts]
    if plan == "merged":
        gated = (gamma.to(b.dtype) * scale)[:, None, :, None] * b.transpose(0, 1)  # (B, m, E, q)
        return _merged(layer, operation, x, gated.flatten(2) @ a.flatten(0, 1))
    if plan == "stacked":
        return _stacked(layer, operation, x, gamma, a, b)
    if isinstance(operation, Multiply):
        return FactoredRows.apply(x, layer.weight, layer.bias, a, b, scale, gamma)  # type: ignore[no-any-return]
    return FactoredConvolution.apply(x, layer.weight, layer.bias, a, b, scale, gamma, operation)  # type: ignore[no-any-return]


def _adapters(layer: LowRank) -> tuple[Tensor, Tensor, float]:
    return layer.A, layer.B, layer.alpha / layer.rank


def _merged(layer: LowRank, operation: Operation, x: Tensor, delta: Tensor) -> Tensor:
    """delta: (B, …) of any shape that is reshaped to the weight's."""
    weights = layer.weight + delta.reshape(x.shape[0], *layer.weight.shape)
    return operation.each(x, weights.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype))


def _stacked(layer: LowRank, operation: Operation, x: Tensor, gamma: Tensor, a: Tensor, b: Tensor) -> Tensor:
    y = _plain(layer, operation, x)
    deltas = torch.bmm(layer.alpha / layer.rank * b, a).to(x.dtype)
    for each, delta in zip(gamma.to(x.dtype).unbind(1), deltas.unbind(), strict=True):
        y = y + each.view(-1, *(1,) * (y.dim() - 1)) * operation(x, delta.view(layer.weight.shape))
    return y


def _plain(layer: LowRank, operation: Operation, x: Tensor) -> Tensor:
    return operation(x, layer.weight.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype))


def _precision(x: Tensor) -> torch.dtype:
    """What autocast would compute in; it leaves double precision alone."""
    on = x.dtype != torch.float64 and torch.amp.is_autocast_available(x.device.type)
    if on and torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype
