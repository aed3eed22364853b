"""The factored plans of the weight gate: y = W x + B (γ ⊙ A x). No full weight per sample, and no full map per expert.

Gamma is (B, E). Adapters come as a layer holds them: a (E, q, width), b (E, m, q). A name
grad_… is the gradient of what follows.

A convolution's update is one of convolutions, exactly, for any C_in. Position (o, i, u, v) of ΔW is row o·n + s and
column c of b a, where s·width + c counts the kernel's (i, u, v); n = C_in·k·k/width. So row group s of b meets only
``width`` consecutive places of the kernel: a slice of the channels, with zeros where a channel is cut. The rows of a
are shared by all n slices. For loralib n = k and width = C_in·k, for two_conv (and k = 1) n = 1.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mola.layers.plans.operations import Convolve, Fixed, Gradients, flat
from mola.layers.plans.written import differentiable

Slice = tuple[slice, int, Tensor]


class FactoredRows(torch.autograd.Function):
    """x (B, L, C_in), contiguous → (B, L, C_out), the update added in place."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, gamma: Tensor, fixed: Fixed
    ) -> Tensor:
        down = a.flatten(0, 1).to(x.dtype)  # (E·r, C_in)
        # (E·r, C_out): the long axis contiguous
        up = (fixed.scale * b).to(x.dtype).transpose(1, 2).flatten(0, 1)
        y = F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        inner = F.linear(x, down).view(*x.shape[:2], *a.shape[:2])  # (B, L, E, r)
        y.flatten(0, 1).addmm_(_gated(inner, gamma), up)
        ctx.save_for_backward(x, weight, a, b, gamma, down, up, inner)
        ctx.fixed = fixed
        return y

    @staticmethod
    @differentiable
    def backward(ctx: Any, grad_y: Tensor) -> Gradients:
        x, weight, _, _, gamma, down, up, inner = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, needs_a, needs_b, needs_gamma, _ = ctx.needs_input_grad
        grad_y, rows = flat(grad_y), flat(x)
        grad_gated = (grad_y @ up.t()).view(inner.shape)
        grad_inner = _gated(grad_gated, gamma)  # (B·L, E·r)
        grad_b = ctx.fixed.scale * (_gated(inner, gamma).t() @ grad_y) if needs_b else None  # (E·r, C_out)
        return (
            (grad_y @ weight.to(x.dtype)).addmm_(grad_inner, down).view(x.shape) if needs_x else None,
            grad_y.t() @ rows if needs_weight else None,
            grad_y.sum(0) if needs_bias else None,
            (grad_inner.t() @ rows).view(*inner.shape[2:], -1) if needs_a else None,
            None if grad_b is None else grad_b.view(*inner.shape[2:], -1).transpose(1, 2),
            (grad_gated * inner).sum((1, 3)) if needs_gamma else None,
            None,
        )


class FactoredConvolution(torch.autograd.Function):
    """Maps x (B, C_in, H, W), groups = 1; the update is added in place. The small maps A x between are kept for
    backward only where they are less than the input; else they are recomputed.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, gamma: Tensor, fixed: Fixed
    ) -> Tensor:
        scale, operation, *_ = ctx.fixed = fixed
        assert isinstance(operation, Convolve)
        y = operation(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        small = _down(x, _slices(a, weight, x.dtype), len(a), operation)
        gated, up = (small * _over_maps(gamma, small)).flatten(1, 3), _up(b, y.shape[1], scale).to(x.dtype)
        if y.is_contiguous():
            y.flatten(2).baddbmm_(up.flatten(1).expand(x.shape[0], -1, -1), gated.flatten(2))
        else:  # channels last
            y.add_(Convolve()(gated, up))
        ctx.save_for_backward(x, weight, a, b, gamma, small if small.numel() <= x.numel() else None)
        return y

    @staticmethod
    @differentiable
    def backward(ctx: Any, grad_y: Tensor) -> Gradients:
        x, weight, a, b, gamma, small = ctx.saved_tensors
        scale, operation, *_ = ctx.fixed
        needs_x, needs_weight, needs_bias, needs_a, needs_b, needs_gamma, _ = ctx.needs_input_grad
        slices = _slices(a, weight, x.dtype)
        small = _down(x, slices, len(a), operation) if small is None else small
        over_maps = _over_maps(gamma, small)

        up = _up(b, grad_y.shape[1], scale).to(x.dtype)
        grad_gated, grad_up = Convolve().backward(grad_y, (small * over_maps).flatten(1, 3), up, needs_weight=needs_b)
        assert grad_gated is not None
        grad_small = grad_gated.contiguous().view(small.shape)
        grad_gamma = None
        if needs_gamma:
            # Slice by slice, as the products are as large as the maps.
            products = [(grad_small[:, s] * small[:, s]).sum((2, 3, 4)) for s in range(len(slices))]
            grad_gamma = torch.stack(products).sum(0)
        grad_small.mul_(over_maps)

        grad_x, grad_weight = operation.backward(grad_y, x, weight.to(x.dtype), needs_x, needs_weight)
        grad_a: Tensor | None = None
        for s, (channels, front, kernel) in enumerate(slices):
            grad_maps = grad_small[:, s].reshape(len(x), -1, *grad_y.shape[2:]).contiguous()
            grad_channels, grad_kernel = operation.backward(grad_maps, x[:, channels], kernel, needs_x, needs_a)
            if grad_x is not None and grad_channels is not None:
                grad_x.narrow(1, channels.start, grad_channels.shape[1]).add_(grad_channels)
            if grad_kernel is not None:
                rows = grad_kernel.reshape(len(kernel), -1).narrow(1, front, a.shape[2]).to(a.dtype)
                grad_a = rows if grad_a is None else grad_a + rows
        return (
            grad_x,
            grad_weight,
            operation.bias_gradient(grad_y) if needs_bias else None,
            None if grad_a is None else grad_a.reshape(a.shape),
            None if grad_up is None else _up_to_b(scale * grad_up, b, len(slices)),
            grad_gamma,
            None,
        )


def _gated(inner: Tensor, gamma: Tensor) -> Tensor:
    """γ over (B, L, E, r), as (B·L, E·r)."""
    return (inner * gamma.to(inner.dtype)[:, None, :, None]).reshape(-1, inner.shape[2] * inner.shape[3])


def _over_maps(gamma: Tensor, like: Tensor) -> Tensor:
    """γ with the axes of (B, n, E, q, H', W')."""
    return gamma.to(like.dtype)[:, None, :, None, None, None]


def _slices(a: Tensor, weight: Tensor, dtype: torch.dtype) -> list[Slice]:
    """For each of the n slices: its channels, the zeros in front, and the kernel (E·q, channels, k, k)."""
    rows, width, places = a.flatten(0, 1).to(dtype), a.shape[2], weight[0, 0].numel()
    slices = []
    for first in range(0, weight[0].numel(), width):
        start, stop = first // places, -(-(first + width) // places)
        front, back = first - start * places, stop * places - first - width
        kernel = F.pad(rows, (front, back)) if front or back else rows
        slices.append((slice(start, stop), front, kernel.reshape(len(rows), stop - start, *weight.shape[2:])))
    return slices


def _down(x: Tensor, slices: list[Slice], experts: int, operation: Convolve) -> Tensor:
    """The small maps, (B, n, E, q, H', W')."""
    maps = torch.stack([operation(x[:, channels], kernel) for channels, _, kernel in slices], dim=1)
    return maps.view(*maps.shape[:2], experts, -1, *maps.shape[3:])


def _up(b: Tensor, outputs: int, scale: float) -> Tensor:
    """The kernel from the gated small maps to y, (C_out, n·E·q, 1, 1)."""
    experts, _, q = b.shape
    return scale * b.view(experts, outputs, -1, q).permute(1, 2, 0, 3).reshape(outputs, -1, 1, 1)


def _up_to_b(up: Tensor, b: Tensor, slices: int) -> Tensor:
    """The inverse of the layout that :func:`_up` gives b."""
    experts, _, q = b.shape
    return up.view(-1, slices, experts, q).permute(2, 0, 1, 3).reshape(b.shape)
