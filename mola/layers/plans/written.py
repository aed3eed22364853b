"""The layers' formulas as they are written, in torch's own operations: they can be differentiated any number of times,
and under torch.func's transforms. The plans compute the same, faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mola.layers.plans.operations import Fixed, Gradients, no_autocast

Backward = Callable[[Any, Tensor], Gradients]


def differentiable(backward: Backward) -> Backward:
    """Decorate the backward of a plan, which keeps its own precision. Where gradients will be differentiated
    (``create_graph=True``), they come from the formula as it is written.

    The plan saves x, weight, a, b and gamma, if it has one, before all else, and has ``ctx.fixed``.
    It may be called for several gradients at once, by ``torch.vmap`` or ``is_grads_batched``. The latter knows no
    ``flatten`` and no slice ``[:, a:b]`` that is the whole: ``reshape`` and ``narrow`` in their place.
    """

    @once_differentiable  # type: ignore[untyped-decorator]
    @wraps(backward)
    def once(ctx: Any, grad: Tensor) -> Gradients:
        with no_autocast(grad):
            return backward(ctx, grad)

    def run(ctx: Any, grad: Tensor) -> Gradients:
        # what torch.compile makes of a backward pass can't be differentiated, which torch says itself
        if not torch.is_grad_enabled() or torch.compiler.is_compiling():
            return once(ctx, grad)  # type: ignore[no-any-return]
        needed = ctx.needs_input_grad
        with no_autocast(grad):
            return gradients(grad, ctx.saved_tensors[: len(needed) - 2], ctx.fixed, needed)

    return run


def indexed(x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, fixed: Fixed) -> Tensor:
    """Each expert's samples with W + ΔW_e. a: (E, p, n); b: (E, m, p)."""
    scale, operation, counts, chosen = fixed
    if chosen is not None:
        order = chosen.flatten().argsort(stable=True)
        in_order = indexed(x[order], weight, bias, a, b, fixed._replace(chosen=None))
        return in_order[order.argsort()]
    deltas = (torch.bmm(scale * b, a)).view(len(a), *weight.shape)
    bias = None if bias is None else bias.to(x.dtype)
    parts = [
        operation(part, (weight + delta).to(x.dtype), bias)
        for part, delta, count in zip(torch.split(x, list(counts)), deltas, counts, strict=True)
        if count
    ]
    return torch.cat(parts)


def weighted(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, gamma: Tensor, fixed: Fixed
) -> Tensor:
    """y = W x + Σ_e γ_e ΔW_e x. gamma: (B, E); or (B, k), of the experts in ``fixed.chosen``."""
    scale, operation, _, chosen = fixed
    if chosen is not None:
        # a product and a sum, as scatter_add has no deterministic form on CUDA
        chosen_by = chosen[:, :, None] == torch.arange(len(a), device=chosen.device)  # (B, k, E)
        gamma = (gamma[:, :, None] * chosen_by).sum(1)
    y = operation(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
    deltas = torch.bmm(scale * b, a).to(x.dtype)
    for weights, delta in zip(gamma.to(x.dtype).unbind(1), deltas.unbind(), strict=True):
        y = y + weights.view(-1, *(1,) * (y.dim() - 1)) * operation(x, delta.view(weight.shape))
    return y


def gradients(grad_y: Tensor, inputs: Sequence[Any], fixed: Fixed, needed: Sequence[bool]) -> Gradients:
    """The gradients of (x, weight, bias, a, b[, gamma]), differentiable: None where one is not needed.

    inputs: x, weight, a, b, and gamma of a weight gate, or None; the bias's value decides nothing.
    needed: for each of the above, the bias among them, and last for what has no gradient.
    """
    x, weight, a, b, *gamma = inputs
    needs_bias = needed[2]
    asked = [tensor for tensor, is_needed in zip(inputs, [*needed[:2], *needed[3:-1]], strict=True) if is_needed]
    with torch.enable_grad():
        if gamma and gamma[0] is not None:
            y = weighted(x, weight, None, a, b, gamma[0], fixed)
        else:
            y = indexed(x, weight, None, a, b, fixed)
        results = iter(torch.autograd.grad(y, asked, grad_y, create_graph=True) if asked else ())
        of_bias = fixed.operation.bias_gradient(grad_y) if needs_bias else None
    of_inputs = [next(results) if is_needed else None for is_needed in [*needed[:2], *needed[3:-1]]]
    return (*of_inputs[:2], of_bias, *of_inputs[2:], None)
