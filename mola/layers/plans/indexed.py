"""The plans of the index gate, for a batch sorted by expert: each sample meets its expert only.

Adapters come as a layer holds them: a (E, p, n), b (E, m, p), ΔW_e = reshape(scale · b_e a_e, W.shape). A name grad_…
is the gradient of what follows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mola.layers.plans.operations import Convolve, Fixed, Gradients, Multiply, flat
from mola.layers.plans.written import differentiable

Counts = tuple[int, ...]


class Permuted(torch.autograd.Function):
    """The samples x (B, …) in another order (B,). The gradient is put back by ``inverse``; torch's own would add it to
    zeros, number by number, which takes many times as long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.inverse = inverse
        # index_select is the faster, but doesn't keep channels last, which "contiguous" maps of 1 × 1 can be as well
        is_plain = all(stride == math.prod(x.shape[axis + 1 :]) for axis, stride in enumerate(x.stride()))
        return x.index_select(0, order) if is_plain else x[order]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        return grad.index_select(0, ctx.inverse), None, None


class Grouped(torch.autograd.Function):
    """Each expert's samples with W + ΔW_e. The E merged weights are recomputed in backward rather than kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, fixed: Fixed) -> Tensor:
        scale, operation, counts, _ = ctx.fixed = fixed
        ctx.save_for_backward(x, weight, a, b)
        bias = None if bias is None else bias.to(x.dtype)
        parts = [
            operation(part, merged(weight, a[e], b[e], scale).to(x.dtype), bias) for e, part in by_expert(counts, x)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @staticmethod
    @differentiable
    def backward(ctx: Any, grad_y: Tensor) -> Gradients:
        x, weight, a, b = ctx.saved_tensors
        scale, operation, counts, _ = ctx.fixed
        needs_x, needs_weight, needs_bias, needs_a, needs_b, _ = ctx.needs_input_grad
        grad_x: list[Tensor] = []
        grad_weight: Tensor | None = None
        grad_a, grad_b = [torch.zeros_like(a[0])] * len(a), [torch.zeros_like(b[0])] * len(b)
        for e, x_e, grad_y_e in by_expert(counts, x, grad_y):
            merged_e = merged(weight, a[e], b[e], scale).to(x.dtype)
            grad_x_e, grad_merged = operation.backward(
                grad_y_e, x_e, merged_e, needs_x, needs_weight or needs_a or needs_b
            )
            if grad_x_e is not None:
                grad_x.append(grad_x_e)
            if grad_merged is None:
                continue
            grad_merged = grad_merged.to(weight.dtype)
            grad_delta = grad_merged.reshape(b.shape[1], a.shape[2])
            grad_a[e] = scale * (b[e].t() @ grad_delta)
            grad_b[e] = scale * (grad_delta @ a[e].t())
            grad_weight = grad_merged if grad_weight is None else grad_weight.add_(grad_merged)
        return (
            (grad_x[0] if len(grad_x) == 1 else torch.cat(grad_x)) if needs_x else None,
            grad_weight if needs_weight else None,
            operation.bias_gradient(grad_y) if needs_bias else None,
            torch.stack(grad_a) if needs_a else None,
            torch.stack(grad_b) if needs_b else None,
            None,
        )


class SeparateRows(torch.autograd.Function):
    """x (B, L, C_in), contiguous → (B, L, C_out): y = W x + bias, to which each expert's samples add ΔW_e x in place,
    in two thin products.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, fixed: Fixed) -> Tensor:
        scale, _, counts, _ = ctx.fixed = fixed
        # Thin products are fast where the long axis is contiguous: B is transposed, and its gradient too.
        down = a.to(x.dtype)  # (E, r, C_in)
        up = (scale * b).to(x.dtype).transpose(1, 2).contiguous()  # (E, r, C_out)
        y = F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        inner = torch.cat([flat(x_e) @ down[e].t() for e, x_e in by_expert(counts, x)])
        inner = inner.view(*x.shape[:2], -1)  # (B, L, r)
        for e, inner_e, y_e in by_expert(counts, inner, y):
            flat(y_e).addmm_(flat(inner_e), up[e])
        ctx.save_for_backward(x, weight, a, b, down, up, inner)
        return y

    @staticmethod
    @differentiable
    def backward(ctx: Any, grad_y: Tensor) -> Gradients:
        x, weight, _, _, down, up, inner = ctx.saved_tensors
        scale, _, counts, _ = ctx.fixed
        grad_y = grad_y.contiguous()
        needs_x, needs_weight, needs_bias, needs_a, needs_b, _ = ctx.needs_input_grad
        grad_x = grad_y @ weight.to(x.dtype) if needs_x else None
        grad_a, grad_b = [torch.zeros_like(down[0])] * len(down), [torch.zeros_like(up[0])] * len(up)
        for e, x_e, inner_e, grad_x_e, grad_y_e in by_expert(counts, x, inner, grad_x, grad_y):
            grad_inner = flat(grad_y_e) @ up[e].t()  # (B_e·L, r)
            if grad_x is not None:
                grad_x_e.view(-1, x.shape[-1]).addmm_(grad_inner, down[e])
            if needs_a:
                grad_a[e] = grad_inner.t() @ flat(x_e)
            if needs_b:
                grad_b[e] = flat(inner_e).t() @ flat(grad_y_e)
        return (
            grad_x,
            flat(grad_y).t() @ flat(x) if needs_weight else None,
            Multiply.bias_gradient(grad_y) if needs_bias else None,
            torch.stack(grad_a) if needs_a else None,
            scale * torch.stack(grad_b).transpose(1, 2) if needs_b else None,
            None,
        )


class SeparateMaps(torch.autograd.Function):
    """x (B, C_in, H, W) → (B, C_out, H', W'), groups = 1: y = W x + bias, to which each expert's samples add ΔW_e x in
    place, in two thin products on the columns that the kernel reads. Columns are k² times as many numbers as the
    input, so those of one expert are unfolded at a time, and again in backward.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, fixed: Fixed) -> Tensor:
        scale, operation, counts, _ = ctx.fixed = fixed
        assert isinstance(operation, Convolve)
        y = operation(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        down, up = a.to(x.dtype), b.to(x.dtype).view(len(b), y.shape[1], -1)  # (E, q, width), (E, C_out, n·q)
        kept = []
        for e, x_e, y_e in by_expert(counts, x, y):
            columns = operation.columns(x_e, weight.shape[2:], a.shape[2])
            inner = F.linear(columns, down[e]).flatten(2)  # (B_e, L, n·q)
            if y.is_contiguous():
                y_e.flatten(2).baddbmm_(up[e].expand(len(x_e), -1, -1), inner.transpose(1, 2), alpha=scale)
            else:  # channels last
                y_e.add_((inner @ up[e].t()).transpose(1, 2).view(y_e.shape), alpha=scale)
            kept.append(inner)
        ctx.save_for_backward(x, weight, a, b, down, up, torch.cat(kept))
        return y

    @staticmethod
    @differentiable
    def backward(ctx: Any, grad_y: Tensor) -> Gradients:
        x, weight, _, _, down, up, inner = ctx.saved_tensors
        (scale, operation, counts, _), kernel = ctx.fixed, weight.shape[2:]
        needs_x, needs_weight, needs_bias, needs_a, needs_b, _ = ctx.needs_input_grad
        q, width = down.shape[1:]
        grad_x, grad_weight = operation.backward(grad_y, x, weight.to(x.dtype), needs_x, needs_weight)
        grad_a, grad_b = [torch.zeros_like(down[0])] * len(down), [torch.zeros_like(up[0])] * len(up)
        for e, x_e, inner_e, grad_x_e, grad_y_e in by_expert(counts, x, inner, grad_x, grad_y):
            positions = grad_y_e.reshape(*grad_y_e.shape[:2], -1).transpose(1, 2).contiguous()  # (B_e, L, C_out)
            grad_inner = (scale * (positions @ up[e])).view(*inner_e.shape[:2], -1, q)  # (B_e, L, n, q)
            if needs_a:
                columns = operation.columns(x_e, kernel, width)
                grad_a[e] = grad_inner.reshape(-1, q).t() @ columns.reshape(-1, width)
            if needs_b:
                grad_b[e] = scale * (flat(positions).t() @ flat(inner_e))
            if grad_x is not None:
                grad_x_e += operation.fold_columns(grad_inner @ down[e], x_e.shape, kernel)
        return (
            grad_x,
            grad_weight,
            operation.bias_gradient(grad_y) if needs_bias else None,
            torch.stack(grad_a) if needs_a else None,
            torch.stack(grad_b).view(len(up), -1, q) if needs_b else None,
            None,
        )


class SeparatePoints(torch.autograd.Function):
    """As SeparateMaps, of a 1 × 1 kernel, which reads one position: nothing is unfolded, and each thin product is one
    for the whole batch, every sample with a copy of its expert's matrices: B·r numbers a channel, where x has B·L.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, fixed: Fixed) -> Tensor:
        scale, operation, counts, _ = ctx.fixed = fixed
        assert isinstance(operation, Convolve)
        y = operation(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        points = operation.strided(x).reshape(*x.shape[:2], -1)  # (B, C_in, L)
        inner = scale * (of_samples(a, counts, x) @ points)  # (B, r, L)
        y.view(*y.shape[:2], -1).baddbmm_(of_samples(b, counts, x), inner)
        ctx.save_for_backward(x, weight, a, b, inner)
        return y

    @staticmethod
    @differentiable
    def backward(ctx: Any, grad_y: Tensor) -> Gradients:
        x, weight, a, b, inner = ctx.saved_tensors
        scale, operation, counts, _ = ctx.fixed
        needs_x, needs_weight, needs_bias, needs_a, needs_b, _ = ctx.needs_input_grad
        grad_points = grad_y.reshape(*grad_y.shape[:2], -1)  # (B, C_out, L)
        points = operation.strided(x).reshape(*x.shape[:2], -1)  # (B, C_in, L)
        grad_inner = scale * (of_samples(b, counts, x).transpose(1, 2) @ grad_points)  # (B, r, L)
        grad_x, grad_weight = operation.backward(grad_y, x, weight.to(x.dtype), needs_x, needs_weight)
        if grad_x is not None:
            read = operation.strided(grad_x)
            read += (of_samples(a, counts, x).transpose(1, 2) @ grad_inner).reshape(read.shape)
        return (
            grad_x,
            grad_weight,
            operation.bias_gradient(grad_y) if needs_bias else None,
            of_experts(grad_inner @ points.transpose(1, 2), counts) if needs_a else None,
            of_experts(grad_points @ inner.transpose(1, 2), counts) if needs_b else None,
            None,
        )


def of_samples(matrices: Tensor, counts: Counts, like: Tensor) -> Tensor:
    """The matrix of each sample's expert: (E, …) → (B, …)."""
    parts = [matrices[e].expand(count, *matrices.shape[1:]) for e, count in enumerate(counts) if count]
    return torch.cat(parts).to(like.dtype)


def of_experts(parts: Tensor, counts: Counts) -> Tensor:
    """The sum over the samples of each expert: (B, …) → (E, …)."""
    sums = [torch.zeros_like(parts[0])] * len(counts)
    for e, part in by_expert(counts, parts):
        sums[e] = part.sum(0)
    return torch.stack(sums)


def merged(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """W + ΔW of one expert, of the weight's shape."""
    return torch.addmm(weight.reshape(len(b), a.shape[1]), b, a, alpha=scale).view(weight.shape)


def by_expert(counts: Counts, *tensors: Tensor | None) -> Iterator[Any]:
    """The number of each expert that has samples, with its samples of each (B, …): views, and None of None."""
    experts = [expert for expert, count in enumerate(counts) if count]
    sizes = [counts[expert] for expert in experts]
    parts = [[None] * len(sizes) if tensor is None else torch.split(tensor, sizes) for tensor in tensors]
    return zip(experts, *parts, strict=True)
