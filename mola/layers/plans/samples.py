"""Thin products of the whole batch at once, every sample with copies of the matrices of its experts: few calls, no
sorting, and experts that a sample doesn't use cost it nothing. Copies are B·k·r numbers a channel, where x has B·L.

k experts a sample: one of an index gate; those that a sparse gate names, weighed by gamma (B, k). ``fixed.chosen``
(B, k) holds their numbers. What lies between the products is (B, …, L), the long axis last: with rows in its place,
the six products of a ViT's layer took 1.4 times as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mola.layers.plans.operations import Convolve, Fixed, Gradients, Multiply, flat
from mola.layers.plans.written import differentiable

# Of columns that are unfolded at a time, for each number of a batch.
MANY_COLUMNS = 2


class SampledRows(torch.autograd.Function):
    """x (B, L, C_in), contiguous → (B, L, C_out): y = W x + bias, to which the experts' updates are added in place."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        gamma: Tensor | None,
        fixed: Fixed,
    ) -> Tensor:
        ctx.fixed = fixed
        down = a.to(x.dtype)  # (E, r, C_in)
        up = (fixed.scale * b).to(x.dtype).transpose(1, 2).contiguous()  # (E, r, C_out)
        y = F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        inner = torch.bmm(_of_samples(down, fixed), x.transpose(1, 2))  # (B, k·r, L)
        y.baddbmm_(_gated(inner, gamma).transpose(1, 2), _of_samples(up, fixed))
        ctx.save_for_backward(x, weight, a, b, gamma, down, up, inner)
        return y

    @staticmethod
    @differentiable
    def backward(ctx: Any, grad_y: Tensor) -> Gradients:
        x, weight, a, b, gamma, down, up, inner = ctx.saved_tensors
        fixed = ctx.fixed
        needs_x, needs_weight, needs_bias, needs_a, needs_b, needs_gamma, _ = ctx.needs_input_grad
        grad_y = grad_y.contiguous()
        grad_gated = torch.bmm(_of_samples(up, fixed), grad_y.transpose(1, 2))  # (B, k·r, L)
        grad_inner = _gated(grad_gated, gamma)
        grad_x: Tensor | None = None
        if needs_x:
            grad_x = grad_y @ weight.to(x.dtype)
            grad_x.baddbmm_(grad_inner.transpose(1, 2), _of_samples(down, fixed))
        grad_up: Tensor | None = None
        if needs_b:
            grad_up = _add_to_experts(b.new_zeros(up.shape), torch.bmm(_gated(inner, gamma), grad_y), fixed)
        return (
            grad_x,
            flat(grad_y).t() @ flat(x) if needs_weight else None,
            Multiply.bias_gradient(grad_y) if needs_bias else None,
            _add_to_experts(torch.zeros_like(a), torch.bmm(grad_inner, x), fixed) if needs_a else None,
            None if grad_up is None else fixed.scale * grad_up.transpose(1, 2),
            _of_gamma(grad_gated * inner, gamma) if needs_gamma else None,
            None,
        )


class SampledMaps(torch.autograd.Function):
    """x (B, C_in, H, W) → (B, C_out, H', W'), groups = 1, of a sparse gate: as SampledRows, on the columns that the
    kernel reads. They are k² times as many numbers as x, so those of a few samples are unfolded at a time, and again
    in backward.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, gamma: Tensor, fixed: Fixed
    ) -> Tensor:
        ctx.fixed, operation = fixed, fixed.operation
        assert isinstance(operation, Convolve)
        y = operation(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        in_precision, scaled, kept = a.to(x.dtype), (fixed.scale * b).to(x.dtype), []
        for x_i, y_i, gamma_i, fixed_i in _few_at_a_time(fixed, weight, x, y, gamma):
            columns = _columns(x_i, weight, a, operation)  # (b, n, width, L)
            down = _of_samples(in_precision, fixed_i)
            # (b, n, k·q, L)
            inner = torch.stack([torch.bmm(down, columns[:, s]) for s in range(columns.shape[1])], dim=1)
            y_i += torch.bmm(_up(scaled, y_i, fixed_i), _gated(inner, gamma_i).flatten(1, 2)).view(y_i.shape)
            kept.append(inner)
        ctx.save_for_backward(x, weight, a, b, gamma, torch.cat(kept))
        return y

    @staticmethod
    @differentiable
    def backward(ctx: Any, grad_y: Tensor) -> Gradients:
        x, weight, a, b, gamma, inner = ctx.saved_tensors
        fixed, operation, kernel = ctx.fixed, ctx.fixed.operation, weight.shape[2:]
        needs_x, needs_weight, needs_bias, needs_a, needs_b, needs_gamma, _ = ctx.needs_input_grad
        grad_x, grad_weight = operation.backward(grad_y, x, weight.to(x.dtype), needs_x, needs_weight)
        slices, in_precision, scaled = range(inner.shape[1]), a.to(x.dtype), (fixed.scale * b).to(x.dtype)
        grad_a, grad_b = torch.zeros_like(a), torch.zeros_like(b)
        grad_gamma = []
        parts = _few_at_a_time(fixed, weight, x, grad_y, gamma, inner, grad_x)
        for x_i, grad_y_i, gamma_i, inner_i, grad_x_i, fixed_i in parts:
            down, up = _of_samples(in_precision, fixed_i), _up(scaled, grad_y_i, fixed_i)
            maps = grad_y_i.reshape(*grad_y_i.shape[:2], -1)  # (b, C_out, L)
            grad_gated = torch.bmm(up.transpose(1, 2), maps).view(inner_i.shape)
            grad_inner = _gated(grad_gated, gamma_i)
            if needs_gamma:
                grad_gamma.append(_of_gamma(grad_gated * inner_i, gamma_i))
            if needs_b:
                grad_up = torch.bmm(maps, _gated(inner_i, gamma_i).flatten(1, 2).transpose(1, 2))  # (b, C_out, n·k·q)
                grad_b = _add_to_experts(grad_b, _up_to_b(grad_up, b, fixed_i), fixed_i)
            if needs_a:
                columns = _columns(x_i, weight, a, operation)
                grad_down = torch.bmm(grad_inner[:, 0], columns[:, 0].transpose(1, 2))  # (b, k·q, width)
                for s in slices[1:]:
                    grad_down.baddbmm_(grad_inner[:, s], columns[:, s].transpose(1, 2))
                grad_a = _add_to_experts(grad_a, grad_down, fixed_i)
                del columns
            if grad_x_i is not None:
                # (b, n·width, L)
                grad_columns = torch.cat([torch.bmm(down.transpose(1, 2), grad_inner[:, s]) for s in slices], dim=1)
                if operation.is_pointwise(kernel):
                    read = operation.strided(grad_x_i)
                    read += grad_columns.view(read.shape)
                else:
                    grad_x_i += operation.fold(grad_columns, x_i.shape, kernel)
        return (
            grad_x,
            grad_weight,
            operation.bias_gradient(grad_y) if needs_bias else None,
            grad_a if needs_a else None,
            fixed.scale * grad_b if needs_b else None,
            torch.cat(grad_gamma) if needs_gamma else None,
            None,
        )


def _few_at_a_time(fixed: Fixed, weight: Tensor, *tensors: Tensor | None) -> Iterator[Any]:
    """As many samples (b, …) of the tensors (B, …) as have MANY_COLUMNS columns for each number of the batch, and what
    is fixed for them: views, and None of None.
    """
    assert fixed.chosen is not None
    few = max(1, MANY_COLUMNS * len(fixed.chosen) // weight[0, 0].numel())
    indices = torch.split(fixed.chosen, few)
    parts = [[None] * len(indices) if tensor is None else torch.split(tensor, few) for tensor in tensors]
    return zip(*parts, (fixed._replace(chosen=chosen) for chosen in indices), strict=True)


def _of_samples(matrices: Tensor, fixed: Fixed) -> Tensor:
    """The matrices of each sample's experts, one under the other: (E, r, n) → (B, k·r, n)."""
    assert fixed.chosen is not None
    return matrices.index_select(0, fixed.chosen.flatten()).view(len(fixed.chosen), -1, matrices.shape[2])


def _add_to_experts(sums: Tensor, parts: Tensor, fixed: Fixed) -> Tensor:
    """The adjoint of :func:`_of_samples`, added to ``sums`` (E, r, n). parts: (B, k·r, n)."""
    assert fixed.chosen is not None
    # not in place: of several gradients at once, under vmap, the sums of before are one tensor and the parts are many
    return sums.index_add(0, fixed.chosen.flatten(), parts.reshape(-1, *sums.shape[1:]).to(sums.dtype))


def _gated(inner: Tensor, gamma: Tensor | None) -> Tensor:
    """γ over (B, …, k·r, L); an index gate has none."""
    if gamma is None:
        return inner
    rank = inner.shape[-2] // gamma.shape[1]
    weights = gamma.to(inner.dtype).repeat_interleave(rank, 1)  # (B, k·r)
    return inner * weights.view(len(inner), *(1,) * (inner.dim() - 3), -1, 1)


def _of_gamma(products: Tensor, gamma: Tensor) -> Tensor:
    """The sums over what each weight was multiplied with: (B, …, k·r, L) → (B, k)."""
    rows = products.sum(-1)  # (B, …, k·r)
    return rows.reshape(len(gamma), -1, gamma.shape[1], products.shape[-2] // gamma.shape[1]).sum((1, 3))


def _columns(x: Tensor, weight: Tensor, a: Tensor, operation: Convolve) -> Tensor:
    """What the kernel reads at every position, cut into n parts as wide as A: (B, n, width, L)."""
    if operation.is_pointwise(weight.shape[2:]):
        return operation.strided(x).reshape(len(x), 1, x.shape[1], -1)
    return operation.unfold(x, weight.shape[2:]).view(len(x), -1, a.shape[2], operation.positions(x, weight.shape[2:]))


def _up(b: Tensor, y: Tensor, fixed: Fixed) -> Tensor:
    """The matrix of each sample from its small maps to y (B, C_out, H', W'): (E, C_out·n, q) → (B, C_out, n·k·q)."""
    assert fixed.chosen is not None
    chosen = b.index_select(0, fixed.chosen.flatten())
    split = chosen.view(*fixed.chosen.shape, y.shape[1], -1, b.shape[2])  # (B, k, C_out, n, q)
    return split.permute(0, 2, 3, 1, 4).reshape(len(y), y.shape[1], -1)


def _up_to_b(up: Tensor, b: Tensor, fixed: Fixed) -> Tensor:
    """The inverse of the layout that :func:`_up` gives b: (B, C_out, n·k·q) → (B, k·C_out·n, q)."""
    assert fixed.chosen is not None
    k, q = fixed.chosen.shape[1], b.shape[2]
    return up.reshape(*up.shape[:2], -1, k, q).permute(0, 3, 1, 2, 4).reshape(len(up), -1, q)
