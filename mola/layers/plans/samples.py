"""Thin products of a whole batch at once, every sample with copies of the matrices of its expert, in any order: few
calls, and no sorting. Copies are B·r numbers a channel, where x has B·L.

Small maps and rows between are (B, r, L), the long axis last: that is the faster way round for all six products.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mola.layers.plans.operations import Fixed, Gradients, Multiply, flat
from mola.layers.plans.written import differentiable


class SampledRows(torch.autograd.Function):
    """x (B, L, C_in), contiguous → (B, L, C_out): y = W x + bias, to which ΔW_e x of each sample's expert is added in
    place, in two thin products.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, fixed: Fixed) -> Tensor:
        ctx.fixed, index = fixed, fixed.index
        assert index is not None
        down = a.to(x.dtype)  # (E, r, C_in)
        up = (fixed.scale * b).to(x.dtype).transpose(1, 2).contiguous()  # (E, r, C_out)
        y = F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        inner = torch.bmm(down.index_select(0, index), x.transpose(1, 2))  # (B, r, L)
        y.baddbmm_(inner.transpose(1, 2), up.index_select(0, index))
        ctx.save_for_backward(x, weight, a, b, down, up, inner)
        return y

    @staticmethod
    @differentiable
    def backward(ctx: Any, grad_y: Tensor) -> Gradients:
        x, weight, _, _, down, up, inner = ctx.saved_tensors
        scale, index = ctx.fixed.scale, ctx.fixed.index
        needs_x, needs_weight, needs_bias, needs_a, needs_b, _ = ctx.needs_input_grad
        grad_y = grad_y.contiguous()
        grad_inner = torch.bmm(up.index_select(0, index), grad_y.transpose(1, 2))  # (B, r, L)
        grad_x: Tensor | None = None
        if needs_x:
            grad_x = grad_y @ weight.to(x.dtype)
            grad_x.baddbmm_(grad_inner.transpose(1, 2), down.index_select(0, index))
        grad_b = of_experts(torch.bmm(inner, grad_y), index, len(up)) if needs_b else None
        return (
            grad_x,
            flat(grad_y).t() @ flat(x) if needs_weight else None,
            Multiply.bias_gradient(grad_y) if needs_bias else None,
            of_experts(torch.bmm(grad_inner, x), index, len(down)) if needs_a else None,
            None if grad_b is None else scale * grad_b.transpose(1, 2),
            None,
        )


def of_experts(parts: Tensor, index: Tensor, experts: int) -> Tensor:
    """The sum over the samples of each expert, whose number ``index`` (B,) holds: (B, …) → (E, …)."""
    # not in place: of several gradients at once, under vmap, the zeros are one tensor and the parts are many
    return parts.new_zeros(experts, *parts.shape[1:]).index_add(0, index, parts)
