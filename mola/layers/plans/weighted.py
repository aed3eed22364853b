"""The factored plans of the weight gate: y = W x + B (γ ⊙ A x). No full weight per sample, and no full map per expert.

``scale`` is α/r, gamma (B, E). Adapters as a layer holds them: a (E, q, width), b (E, m, q). Gradients are
taken once: a gradient of a gradient is refused by torch.

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

from mola.layers.plans.operations import Convolve, flat, gradient

Gradients = tuple[Tensor | None, ...]
Slice = tuple[slice, int, Tensor]


class FactoredRows(torch.autograd.Function):
    """x (B, L, C_in) → (B, L, C_out), the update added in place."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float, gamma: Tensor
    ) -> Tensor:
        down = a.flatten(0, 1).to(x.dtype)  # (E·r, C_in)
        up = (scale * b).to(x.dtype).transpose(1, 2).flatten(0, 1)  # (E·r, C_out): the long axis contiguous
        x = x.contiguous()
        y = F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        inner = F.linear(x, down).view(*x.shape[:2], *a.shape[:2])  # (B, L, E, r)
        y.flatten(0, 1).addmm_(_gated(inner, gamma), up)
        ctx.save_for_backward(x, weight, down, up, gamma, inner)
        ctx.scale = scale
        return y

    @staticmethod
    @gradient
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, weight, down, up, gamma, inner = ctx.saved_tensors
        want_x, want_weight, want_bias, want_a, want_b, _, want_gamma = ctx.needs_input_grad
        grad, rows = flat(grad), flat(x)
        of_gated = (grad @ up.t()).view(inner.shape)
        of_inner = _gated(of_gated, gamma)  # (B·L, E·r)
        of_b = ctx.scale * (_gated(inner, gamma).t() @ grad) if want_b else None  # (E·r, C_out)
        return (
            (grad @ weight.to(x.dtype)).addmm_(of_inner, down).view(x.shape) if want_x else None,
            grad.t() @ rows if want_weight else None,
            grad.sum(0) if want_bias else None,
            (of_inner.t() @ rows).view(*inner.shape[2:], -1) if want_a else None,
            None if of_b is None else of_b.view(*inner.shape[2:], -1).transpose(1, 2),
            None,
            (of_gated * inner).sum((1, 3)) if want_gamma else None,
        )


class FactoredConvolution(torch.autograd.Function):
    """Maps x (B, C_in, H, W), groups = 1; the update is added in place. The small maps A x between are kept for
    backward only where they are less than the input; else they are made again.
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
        gamma: Tensor,
        operation: Convolve,
    ) -> Tensor:
        y = operation(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        small = _down(x, _slices(a, weight, x.dtype), len(a), operation)
        gated, up = (small * _over_maps(gamma, small)).flatten(1, 3), _up(b, y.shape[1], scale).to(x.dtype)
        if y.is_contiguous():
            y.flatten(2).baddbmm_(up.flatten(1).expand(x.shape[0], -1, -1), gated.flatten(2))
        else:  # channels last
            y.add_(Convolve()(gated, up))
        ctx.save_for_backward(x, weight, a, b, gamma, small if small.numel() <= x.numel() else None)
        ctx.scale, ctx.operation = scale, operation
        return y

    @staticmethod
    @gradient
    def backward(ctx: Any, grad: Tensor) -> Gradients:
        x, weight, a, b, gamma, small = ctx.saved_tensors
        operation: Convolve = ctx.operation
        want_x, want_weight, want_bias, want_a, want_b, _, want_gamma = ctx.needs_input_grad[:7]
        slices = _slices(a, weight, x.dtype)
        small = _down(x, slices, len(a), operation) if small is None else small
        over_maps = _over_maps(gamma, small)

        up = _up(b, grad.shape[1], ctx.scale).to(x.dtype)
        of_gated, of_up = Convolve().backward(grad, (small * over_maps).flatten(1, 3), up, of_weight=want_b)
        assert of_gated is not None
        of_small = of_gated.contiguous().view(small.shape)
        of_gamma = None
        if want_gamma:  # slice by slice: the products are as large as the maps
            each = [(of_small[:, s] * small[:, s]).sum((2, 3, 4)) for s in range(len(slices))]
            of_gamma = torch.stack(each).sum(0)
        of_small.mul_(over_maps)

        of_x, of_weight = operation.backward(grad, x, weight.to(x.dtype), want_x, want_weight)
        of_a: Tensor | None = None
        for s, (channels, front, kernel) in enumerate(slices):
            above = of_small[:, s].reshape(len(x), -1, *grad.shape[2:]).contiguous()
            below, of_kernel = operation.backward(above, x[:, channels], kernel, want_x, want_a)
            if of_x is not None and below is not None:
                of_x.narrow(1, channels.start, below.shape[1]).add_(below)
            if of_kernel is not None:
                rows = of_kernel.reshape(len(kernel), -1).narrow(1, front, a.shape[2]).to(a.dtype)
                of_a = rows if of_a is None else of_a + rows
        return (
            of_x,
            of_weight,
            grad.sum((0, 2, 3)) if want_bias else None,
            None if of_a is None else of_a.reshape(a.shape),
            None if of_up is None else _of_b(ctx.scale * of_up, b, len(slices)),
            None,
            of_gamma,
            None,
        )


def _gated(inner: Tensor, gamma: Tensor) -> Tensor:
    """γ over (B, L, E, r), as (B·L, E·r)."""
    return (inner * gamma.to(inner.dtype)[:, None, :, None]).reshape(-1, inner.shape[2] * inner.shape[3])


def _over_maps(gamma: Tensor, like: Tensor) -> Tensor:
    return gamma.to(like.dtype)[:, None, :, None, None, None]  # over (B, n, E, q, H', W')


def _slices(a: Tensor, weight: Tensor, dtype: torch.dtype) -> list[Slice]:
    """For each of the n slices: its channels, the zeros in front, and the kernel (E·q, channels, k, k)."""
    rows, width, places = a.flatten(0, 1).to(dtype), a.shape[2], weight[0, 0].numel()
    found = []
    for first in range(0, weight[0].numel(), width):
        start, stop = first // places, -(-(first + width) // places)
        front, back = first - start * places, stop * places - first - width
        kernel = F.pad(rows, (front, back)) if front or back else rows
        found.append((slice(start, stop), front, kernel.reshape(len(rows), stop - start, *weight.shape[2:])))
    return found


def _down(x: Tensor, slices: list[Slice], experts: int, operation: Convolve) -> Tensor:
    """The small maps, (B, n, E, q, H', W')."""
    maps = torch.stack([operation(x[:, channels], kernel) for channels, _, kernel in slices], dim=1)
    return maps.view(*maps.shape[:2], experts, -1, *maps.shape[3:])


def _up(b: Tensor, outputs: int, scale: float) -> Tensor:
    """(C_out, n·E·q, 1, 1)."""
    experts, _, q = b.shape
    return scale * b.view(experts, outputs, -1, q).permute(1, 2, 0, 3).reshape(outputs, -1, 1, 1)


def _of_b(of_up: Tensor, b: Tensor, slices: int) -> Tensor:
    experts, _, q = b.shape
    return of_up.view(-1, slices, experts, q).permute(2, 0, 1, 3).reshape(b.shape)
