"""The plans of the index gate, for a batch sorted by expert: each sample meets its own expert only.

``counts`` are the samples (rows) of each expert, E numbers; ``scale`` is α/r. Adapters as a layer holds
them: a (E, p, n), b (E, m, p), ΔW_e = reshape(scale · b_e a_e, W.shape). Gradients are taken once: a gradient of a
gradient is refused by torch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mola.layers.plans.operations import Convolve, Operation, flat, gradient

Gradients = tuple[Tensor | None, ...]
Counts = tuple[int, ...]


class Grouped(torch.autograd.Function):
    """Each expert's samples with W + ΔW_e. The E merged weights are made anew in backward rather than kept."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        counts: Counts,
        operation: Operation,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, a, b)
        ctx.scale, ctx.counts, ctx.operation = scale, counts, operation
        bias = None if bias is None else bias.to(x.dtype)
        parts = [
            operation(part, merged(weight, a[e], b[e], scale).to(x.dtype), bias)
            for e, part in zip(present(counts), split(x, counts), strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @staticmethod
    @gradient
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, weight, a, b = ctx.saved_tensors
        scale, counts, operation = ctx.scale, ctx.counts, ctx.operation
        want_x, want_weight, want_bias, want_a, want_b = ctx.needs_input_grad[:5]
        of_x: list[Tensor] = []
        of_weight: Tensor | None = None
        of_a, of_b = [torch.zeros_like(a[0])] * len(a), [torch.zeros_like(b[0])] * len(b)
        for e, part, above in zip(present(counts), split(x, counts), split(grad, counts), strict=True):
            own = merged(weight, a[e], b[e], scale).to(x.dtype)
            below, of_own = operation.backward(above, part, own, want_x, want_weight or want_a or want_b)
            if below is not None:
                of_x.append(below)
            if of_own is None:
                continue
            of_own = of_own.to(weight.dtype)
            of_delta = of_own.reshape(b.shape[1], a.shape[2])
            of_a[e] = scale * (b[e].t() @ of_delta)
            of_b[e] = scale * (of_delta @ a[e].t())
            of_weight = of_own if of_weight is None else of_weight.add_(of_own)
        return (
            (of_x[0] if len(of_x) == 1 else torch.cat(of_x)) if want_x else None,
            of_weight if want_weight else None,
            operation.of_bias(grad) if want_bias else None,
            torch.stack(of_a) if want_a else None,
            torch.stack(of_b) if want_b else None,
            None,
            None,
            None,
        )


class SeparateRows(torch.autograd.Function):
    """x (B, L, C_in) → (B, L, C_out): y = W x + bias, to which each expert's samples add their own ΔW_e x in place, in
    two thin products.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        counts: Counts,
    ) -> Tensor:
        # thin products are fast where the long axis is contiguous: B transposed, its gradient too
        down, up = a.to(x.dtype), (scale * b).to(x.dtype).transpose(1, 2).contiguous()  # (E, r, C_in), (E, r, C_out)
        x = x.contiguous()
        y = F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        inner = torch.cat([part @ down[e].t() for e, part in zip(present(counts), rows(x, counts), strict=True)])
        inner = inner.view(*x.shape[:2], -1)  # (B, L, r)
        for e, part, out in zip(present(counts), rows(inner, counts), rows(y, counts), strict=True):
            out.addmm_(part, up[e])
        ctx.save_for_backward(x, weight, down, up, inner)
        ctx.scale, ctx.counts = scale, counts
        return y

    @staticmethod
    @gradient
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, weight, down, up, inner = ctx.saved_tensors
        counts, grad = ctx.counts, grad.contiguous()
        want_x, want_weight, want_bias, want_a, want_b = ctx.needs_input_grad[:5]
        of_x = grad @ weight.to(x.dtype) if want_x else None
        of_a, of_b = [torch.zeros_like(down[0])] * len(down), [torch.zeros_like(up[0])] * len(up)
        start = 0
        parts = zip(present(counts), rows(x, counts), rows(inner, counts), rows(grad, counts), strict=True)
        for e, part, small, above in parts:
            of_small = above @ up[e].t()  # (rows, r)
            if of_x is not None:
                of_x[start : start + counts[e]].view(part.shape).addmm_(of_small, down[e])
                start += counts[e]
            if want_a:
                of_a[e] = of_small.t() @ part
            if want_b:
                of_b[e] = small.t() @ above
        return (
            of_x,
            flat(grad).t() @ flat(x) if want_weight else None,
            grad.sum((0, 1)) if want_bias else None,
            torch.stack(of_a) if want_a else None,
            ctx.scale * torch.stack(of_b).transpose(1, 2) if want_b else None,
            None,
            None,
        )


class SeparateMaps(torch.autograd.Function):
    """x (B, C_in, H, W) → (B, C_out, H', W'), groups = 1: y = W x + bias, to which each expert's samples add their own
    ΔW_e x in place, in two thin products on the columns that the kernel sees. Columns are k² times as many numbers as
    the input, so those of one expert are unfolded at a time, and anew in backward.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        counts: Counts,
        operation: Convolve,
    ) -> Tensor:
        y = operation(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        down, up = a.to(x.dtype), b.to(x.dtype).view(len(b), y.shape[1], -1)  # (E, q, width), (E, C_out, n·q)
        kept = []
        for e, part, out in zip(present(counts), split(x, counts), split(y, counts), strict=True):
            inner = F.linear(operation.columns(part, weight.shape[2:], a.shape[2]), down[e]).flatten(2)  # (b, L, n·q)
            if y.is_contiguous():
                out.flatten(2).baddbmm_(up[e].expand(len(part), -1, -1), inner.transpose(1, 2), alpha=scale)
            else:  # channels last
                out.add_((inner @ up[e].t()).transpose(1, 2).view(out.shape), alpha=scale)
            kept.append(inner)
        ctx.save_for_backward(x, weight, down, up, torch.cat(kept))
        ctx.scale, ctx.counts, ctx.operation = scale, counts, operation
        return y

    @staticmethod
    @gradient
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, weight, down, up, inner = ctx.saved_tensors
        counts, operation, kernel = ctx.counts, ctx.operation, weight.shape[2:]
        want_x, want_weight, want_bias, want_a, want_b = ctx.needs_input_grad[:5]
        q, width = down.shape[1:]
        of_x, of_weight = operation.backward(grad, x, weight.to(x.dtype), want_x, want_weight)
        of_a, of_b = [torch.zeros_like(down[0])] * len(down), [torch.zeros_like(up[0])] * len(up)
        start = 0
        for e, below, small, above in zip(
            present(counts), split(x, counts), split(inner, counts), split(grad, counts), strict=True
        ):
            of_y = above.reshape(*above.shape[:2], -1).transpose(1, 2).contiguous()  # (b, L, C_out)
            of_inner = (ctx.scale * (of_y @ up[e])).view(*small.shape[:2], -1, q)  # (b, L, n, q)
            if want_a:
                of_a[e] = of_inner.reshape(-1, q).t() @ operation.columns(below, kernel, width).reshape(-1, width)
            if want_b:
                of_b[e] = ctx.scale * (flat(of_y).t() @ flat(small))
            if of_x is not None:
                of_x[start : start + counts[e]] += operation.uncolumns(of_inner @ down[e], below.shape, kernel)
                start += counts[e]
        return (
            of_x,
            of_weight,
            operation.of_bias(grad) if want_bias else None,
            torch.stack(of_a) if want_a else None,
            torch.stack(of_b).view(len(up), -1, q) if want_b else None,
            None,
            None,
            None,
        )


class SeparatePoints(torch.autograd.Function):
    """As SeparateMaps, of a 1 × 1 kernel, which sees one position: nothing is unfolded, and each thin product is one
    for the whole batch, every sample with a copy of its expert's matrices: B·r numbers a channel, where x has B·L.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        counts: Counts,
        operation: Convolve,
    ) -> Tensor:
        y = operation(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        points = operation.seen(x).reshape(*x.shape[:2], -1)  # (B, C_in, L)
        inner = scale * (of_samples(a, counts, x) @ points)  # (B, r, L)
        y.view(*y.shape[:2], -1).baddbmm_(of_samples(b, counts, x), inner)
        ctx.save_for_backward(x, weight, a, b, inner)
        ctx.scale, ctx.counts, ctx.operation = scale, counts, operation
        return y

    @staticmethod
    @gradient
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, weight, a, b, inner = ctx.saved_tensors
        counts, operation = ctx.counts, ctx.operation
        want_x, want_weight, want_bias, want_a, want_b = ctx.needs_input_grad[:5]
        of_y, points = grad.reshape(*grad.shape[:2], -1), operation.seen(x).reshape(*x.shape[:2], -1)  # (B, C, L)
        of_inner = ctx.scale * (of_samples(b, counts, x).transpose(1, 2) @ of_y)  # (B, r, L)
        of_x, of_weight = operation.backward(grad, x, weight.to(x.dtype), want_x, want_weight)
        if of_x is not None:
            seen = operation.seen(of_x)
            seen += (of_samples(a, counts, x).transpose(1, 2) @ of_inner).reshape(seen.shape)
        return (
            of_x,
            of_weight,
            operation.of_bias(grad) if want_bias else None,
            of_experts(of_inner @ points.transpose(1, 2), counts) if want_a else None,
            of_experts(of_y @ inner.transpose(1, 2), counts) if want_b else None,
            None,
            None,
            None,
        )


def of_samples(matrices: Tensor, counts: Counts, like: Tensor) -> Tensor:
    """(E, …) → (B, …): the matrix of each sample's expert."""
    parts = [matrices[e].expand(count, *matrices.shape[1:]) for e, count in enumerate(counts) if count]
    return torch.cat(parts).to(like.dtype)


def of_experts(parts: Tensor, counts: Counts) -> Tensor:
    """(B, …) → (E, …): summed over the samples of each expert."""
    sums = [torch.zeros_like(parts[0])] * len(counts)
    for e, part in zip(present(counts), split(parts, counts), strict=True):
        sums[e] = part.sum(0)
    return torch.stack(sums)


def merged(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """W + ΔW of one expert, of the weight's shape."""
    return torch.addmm(weight.reshape(len(b), a.shape[1]), b, a, alpha=scale).view(weight.shape)


def present(counts: Counts) -> list[int]:
    """The experts that have samples, in order."""
    return [expert for expert, count in enumerate(counts) if count]


def split(x: Tensor, counts: Counts) -> tuple[Tensor, ...]:
    """The samples of each expert present."""
    return torch.split(x, [count for count in counts if count])


def rows(x: Tensor, counts: Counts) -> list[Tensor]:
    """The rows (samples · L, C) of each expert present; views of a contiguous (B, L, C)."""
    return [flat(part) for part in split(x, counts)]
