"""Execution plans: how an adapted layer computes its output. All are exact; this file is the one place that chooses.

index gate
    grouped   the samples of each expert with W + ΔW_e: a plain layer's operations, and E merged weights.
    separate  y = W x, plus the thin products of each sample's own expert. Linear layers, and 1 × 1 kernels of a rank
              that is not wide, take the whole batch at once, each sample with copies of A and B; convolutions take one
              expert after the other, on unfolded columns.
weight gate
    factored  y = W x + B (γ ⊙ A x): operations grow with E, on few channels.
    separate  of a sparse gate: y = W x, plus the thin products of each sample's own k experts, with copies of A and B.
    fused     as factored, in one kernel, in Triton: linear layers and 1 × 1 convolutions, on CUDA. By force alone: its
              speed was not measured on any GPU, so nothing is known that "auto" could choose it by.
    An index gate that torch.compile traces is taken as weights of 0 and 1, so that a graph serves every mix of experts.
both, and what the others are measured against
    stacked   y = W x + Σ_e γ_e ΔW_e x, one full operation per expert.
    merged    a weight of its own for every sample.

What is chosen, with N positions in the whole batch (samples × H'·W', or tokens):

==============  ===========================================================================================
convolution     separate where E merged weights cost more than the thin products: for a 1 × 1 kernel where
 index gate     FEW_POINTS × E × C_in × C_out > N × (C_in + C_out), for others, which unfold columns, where
                E × (C_out + CALLS) > FEW_COLUMNS × N, of the E experts present; else grouped
convolution     stacked with groups (one more map per expert is cheap there)
 weight gate    separate where a batch of a sparse gate uses FEW_EXPERTS × k experts or more (1 × 1 kernels: and where
                k × r is not wide)
                merged for a single sample whose N × (operations of the small maps) exceed those of merging
                else factored
linear          separate with an index gate, at any size; of a sparse gate where the batch uses more than k experts
                and copies are not larger than x, which has k × r tokens then; else factored. Merged weights have cost
                more wherever they were timed
==============  ===========================================================================================

Operations alone mislead: per-sample weights look cheapest for large kernels on small maps and took 2.6 to 49 times as
long there on a CPU. ``layer.plan`` forces another; ``mola bench layers --plans`` times them all. The constants are
fixed rather than measured on the machine that runs: another machine would choose other plans, and the same run would
have other bits there.
"""

from __future__ import annotations

import logging
from typing import Protocol, get_args

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from mola.layers.gate_kinds import Gate, IndexGate, WeightGate, is_tracing, one_hot
from mola.layers.plans import fused, written
from mola.layers.plans.indexed import Grouped, Permuted, SeparateMaps, SeparatePoints, SeparateRows
from mola.layers.plans.operations import Convolve, Fixed, Multiply, Operation, no_autocast
from mola.layers.plans.samples import SampledMaps, SampledRows
from mola.layers.plans.weighted import FactoredConvolution, FactoredRows
from mola.types import BadInput, Plan

log = logging.getLogger(__name__)
# Measured on a CPU with AVX-512, unfolding with AVX2 too. A number of a merged weight, which is computed twice and
# summed in backward, costs as much as FEW_POINTS numbers of x and y beside a 1 × 1 kernel's thin products, or as
# FEW_COLUMNS unfolded ones. An expert has convolutions of its own, which cost as much as CALLS rows of a merged weight.
FEW_POINTS = 5.0
FEW_COLUMNS = 3.5
CALLS = 128
# A rank above WIDE times H'·W' is wide: copies of A and B for each sample then cost more than unfolding.
WIDE = 2
# A sparse gate's samples use few experts where the batch uses FEW_EXPERTS times as many.
FEW_EXPERTS = 8
# Rows of a linear layer that are fewer than the rank want no copies where an expert has more than FEW_SAMPLES samples.
FEW_SAMPLES = 2


class Layer(Protocol):
    """What a plan reads of an adapted layer, see :class:`mola.layers.adapter.LowRank`."""

    weight: Tensor
    bias: Tensor | None
    A: Tensor
    B: Tensor
    alpha: float
    rank: int
    plan: Plan | None
    last_plan: Plan | None


def run(layer: Layer, operation: Operation, x: Tensor, gate: Gate) -> Tensor:
    """The layer's output: x (B, C_in, H, W) → (B, C_out, H', W') of a convolution, (B, L, C_in) → (B, L, C_out) of a
    linear layer. It is in the precision of autocast where that is on; what adds ΔW to W rounds the sum alone.
    """
    parameters = (layer.weight, layer.bias, layer.A, layer.B)
    if has_torch_function(parameters):
        # a tensor of another class decides, as in torch's own functions
        y: Tensor = handle_torch_function(run, parameters, layer, operation, x, gate)
        return y
    kernel = layer.weight.shape[2:]
    if isinstance(gate, IndexGate) and layer.plan is None and torch.compiler.is_compiling():
        # one graph for all mixes of experts, where the number of samples of each would be a graph of its own
        gate = one_hot(gate.index, layer.A.shape[0], x.device)
    if is_tracing():
        return _traced(layer, operation, x, gate)
    if is_transformed():
        return _written(layer, operation, x, gate)
    plan = _plan(layer, gate, operation.positions(x, kernel), operation.is_pointwise(kernel))
    if gate.size == 0:
        return operation(x, layer.weight, layer.bias)
    x = x.to(_precision(x))
    with no_autocast(x):
        if isinstance(gate, IndexGate):
            return _indexed(layer, operation, x, gate, plan)
        return _weighted(layer, operation, x, gate, plan)


def _traced(layer: Layer, operation: Operation, x: Tensor, gate: Gate) -> Tensor:
    """In plain operations, as tracing keeps no autograd functions of ours. Raises BadInput for an index gate, which
    would be frozen.
    """
    if isinstance(gate, IndexGate):
        raise BadInput(
            "gate: tracing would freeze the indices; trace with weights, torch.nn.functional.one_hot(index, experts)"
            ".float(), as an input of the model that opens the gate"
        )
    return _weighted(layer, operation, x, gate, "stacked")


def _written(layer: Layer, operation: Operation, x: Tensor, gate: Gate) -> Tensor:
    """As the formula is written, in torch's own operations."""
    x, a, b = x.to(_precision(x)), layer.A, layer.B
    with no_autocast(x):
        if isinstance(gate, WeightGate):
            if gate.experts is not None:
                a, b = a[gate.experts], b[gate.experts]
            fixed = Fixed(layer.alpha / layer.rank, operation)
            return written.weighted(x, layer.weight, layer.bias, a, b, gate.weights, fixed)
        fixed = Fixed(layer.alpha / layer.rank, operation, gate.counts)
        if gate.order is None:
            return written.indexed(x, layer.weight, layer.bias, a, b, fixed)
        return written.indexed(x[gate.order], layer.weight, layer.bias, a, b, fixed)[gate.inverse]


def is_transformed() -> bool:
    """Whether this runs under a transform of torch.func (grad, vmap, jvp …), or in forward-mode differentiation."""
    # torch.compile traces this one; an empty stack of transforms it takes for one that is not
    return torch._C._are_functorch_transforms_active() or torch.autograd.forward_ad._current_level >= 0


def choose(layer: Layer, gate: Gate, positions: int, pointwise: bool = False) -> Plan:
    """The plan for a layer.

    positions: those of one sample's output, H'·W' or tokens. pointwise: whether each of them reads one of x's.
    """
    groups, flat = getattr(layer, "groups", 1), layer.weight.dim() == 2
    if isinstance(gate, IndexGate):
        return "separate" if groups == 1 and (flat or _few(layer.weight, gate, positions, pointwise)) else "grouped"
    if groups > 1:
        return "stacked"
    rows, width = layer.B.shape[1], layer.A.shape[2]
    if _is_sparse(layer, gate, positions, pointwise):
        return "separate"
    if gate.size == 1 and positions * (rows + layer.weight[0].numel()) > rows * width:
        return "merged"
    return "factored"


def _is_sparse(layer: Layer, gate: WeightGate, positions: int, pointwise: bool) -> bool:
    """Whether samples use few of the experts that the batch uses, and their copies of A and B are no larger than x."""
    if gate.chosen is None or gate.experts is None or torch.compiler.is_compiling():
        return False
    used, k = len(gate.experts), gate.chosen[1].shape[1]
    if layer.weight.dim() == 2:
        return used > k and positions >= k * layer.rank
    return used >= FEW_EXPERTS * k and not (pointwise and k * layer.rank > WIDE * positions)


def _few(weight: Tensor, gate: IndexGate, positions: int, pointwise: bool) -> bool:
    """Whether a convolution's batch has few positions for its experts."""
    experts, total, (outputs, inputs) = len(gate.present), gate.size * positions, weight.shape[:2]
    if pointwise:
        return FEW_POINTS * experts * inputs * outputs > total * (inputs + outputs)
    return experts * (outputs + CALLS) > FEW_COLUMNS * total


def applicable(layer: Layer, gate: Gate) -> tuple[Plan, ...]:
    """The plans that a layer can be forced to."""
    of_gate: tuple[Plan, ...] = ("grouped", "separate")
    if isinstance(gate, WeightGate):
        of_gate = ("factored",) if gate.chosen is None else ("factored", "separate")
    ungrouped = getattr(layer, "groups", 1) == 1
    if isinstance(gate, WeightGate) and fused.why_not(layer, gate.weights.shape[1]) is None:
        of_gate = (*of_gate, "fused")
    return (*(plan for plan in of_gate if ungrouped or plan == "grouped"), "stacked", "merged")


def as_plan(plan: str) -> Plan | None:
    """The plan of a name; None for "auto". Raises BadInput for a name that no plan has."""
    if plan not in ("auto", *get_args(Plan)):
        raise BadInput(f"plan: expected auto, {', '.join(get_args(Plan))}, found '{plan}'")
    return None if plan == "auto" else plan  # type: ignore[return-value]


def _plan(layer: Layer, gate: Gate, positions: int, pointwise: bool) -> Plan:
    plan = layer.plan or choose(layer, gate, positions, pointwise)
    if layer.plan and plan not in (possible := applicable(layer, gate)):
        if plan == "fused" and isinstance(gate, WeightGate):
            raise BadInput(f"plan: fused {fused.why_not(layer, gate.weights.shape[1])}: {layer}")
        kind = "an index gate" if isinstance(gate, IndexGate) else "a weight gate"
        raise BadInput(f"plan: {layer} takes {', '.join(possible)} with {kind}, found '{plan}'")
    if not torch.compiler.is_compiling() and layer.last_plan != plan:
        layer.last_plan = plan
        log.debug("%s, %s of %d samples × %d positions: %s", layer, type(gate).__name__, gate.size, positions, plan)
    return plan


def _indexed(layer: Layer, operation: Operation, x: Tensor, gate: IndexGate, plan: Plan) -> Tensor:
    a, b, scale = layer.A, layer.B, layer.alpha / layer.rank
    if plan == "merged":
        index = gate.placed
        return _merged(layer, operation, x, torch.bmm(scale * b[index], a[index]))
    if plan == "stacked":
        index = gate.placed
        return _stacked(layer, operation, x, index[:, None] == torch.arange(len(a), device=x.device), a, b)
    function: type[torch.autograd.Function]
    if plan == "grouped":
        function = Grouped
    elif isinstance(operation, Multiply):
        # out here, as gradients of gradients follow it
        x, function = x.contiguous(), SeparateRows
        if _by_samples(x, gate, layer.rank):
            fixed = Fixed(scale, operation, gate.counts, gate.placed[:, None])
            return SampledRows.apply(x, layer.weight, layer.bias, a, b, None, fixed)  # type: ignore[no-any-return]
    else:
        function = SeparatePoints if _on_points(operation, x, layer.weight, a) else SeparateMaps
    x = x if gate.order is None else Permuted.apply(x, gate.order, gate.inverse)
    y: Tensor = function.apply(x, layer.weight, layer.bias, a, b, Fixed(scale, operation, gate.counts))
    return y if gate.order is None else Permuted.apply(y, gate.inverse, gate.order)


def _by_samples(x: Tensor, gate: IndexGate, rank: int) -> bool:
    """Whether copies of A and B for each sample cost less than thin products of one expert after the other."""
    return not 0 < x.shape[1] < rank or gate.size <= FEW_SAMPLES * len(gate.present)


def _on_points(operation: Convolve, x: Tensor, weight: Tensor, a: Tensor) -> bool:
    """Whether a 1 × 1 kernel's thin products take the whole batch at once."""
    kernel = weight.shape[2:]
    return operation.is_pointwise(kernel) and a.shape[1] <= WIDE * operation.positions(x, kernel)


def _weighted(layer: Layer, operation: Operation, x: Tensor, gate: WeightGate, plan: Plan) -> Tensor:
    a, b, scale, gamma = layer.A, layer.B, layer.alpha / layer.rank, gate.weights
    if plan == "separate" and gate.chosen is not None:
        gamma, chosen = gate.chosen
        fixed = Fixed(scale, operation, chosen=chosen)
        sampled = SampledRows if isinstance(operation, Multiply) else SampledMaps
        x = x.contiguous() if isinstance(operation, Multiply) else x
        return sampled.apply(x, layer.weight, layer.bias, a, b, gamma, fixed)  # type: ignore[no-any-return]
    # A sparse gate names the experts that it uses.
    if gate.experts is not None:
        a, b = a[gate.experts], b[gate.experts]
    if plan == "merged":
        gated = (gamma.to(b.dtype) * scale)[:, None, :, None] * b.transpose(0, 1)  # (B, m, E, q)
        return _merged(layer, operation, x, gated.flatten(2) @ a.flatten(0, 1))
    if plan == "stacked":
        return _stacked(layer, operation, x, gamma, a, b)
    if plan == "fused":
        return fused.run(operation, x, layer.weight, layer.bias, a, b, gamma, scale)
    function = FactoredRows if isinstance(operation, Multiply) else FactoredConvolution
    if isinstance(operation, Multiply):
        x = x.contiguous()
    y: Tensor = function.apply(x, layer.weight, layer.bias, a, b, gamma, Fixed(scale, operation))
    return y


def _merged(layer: Layer, operation: Operation, x: Tensor, delta: Tensor) -> Tensor:
    """With a weight of its own for every sample. delta: (B, …) of any shape that is reshaped to the weight's."""
    weights = layer.weight + delta.reshape(x.shape[0], *layer.weight.shape)
    return operation.per_sample(x, weights.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype))


def _stacked(layer: Layer, operation: Operation, x: Tensor, gamma: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """With one full operation per expert. gamma: (B, E)."""
    y = operation(x, layer.weight.to(x.dtype), None if layer.bias is None else layer.bias.to(x.dtype))
    deltas = torch.bmm(layer.alpha / layer.rank * b, a).to(x.dtype)
    for weights, delta in zip(gamma.to(x.dtype).unbind(1), deltas.unbind(), strict=True):
        y = y + weights.view(-1, *(1,) * (y.dim() - 1)) * operation(x, delta.view(layer.weight.shape))
    return y


def _precision(x: Tensor) -> torch.dtype:
    """What autocast would compute in; it leaves double precision alone."""
    on = x.dtype != torch.float64 and torch.amp.is_autocast_available(x.device.type)
    if on and torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype
