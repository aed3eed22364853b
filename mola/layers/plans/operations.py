"""The two operations that a weight takes part in, with the gradient that autograd gives them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Gradients = tuple[Tensor | None, Tensor | None]
Backward = Callable[[Any, Tensor], tuple[Tensor | None, ...]]


def no_autocast(like: Tensor) -> AbstractContextManager[object]:
    """For what must keep its precision."""
    device = like.device.type  # "meta", for counting, knows no autocast
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def gradient(backward: Backward) -> Backward:
    """For the backward of an autograd function: taken once, and in its own precision wherever it is called.

    It may be called for several gradients at once, by ``torch.vmap`` or ``is_grads_batched``. The latter knows no
    ``flatten`` and no slice ``[:, a:b]`` that is the whole: ``reshape`` and ``narrow`` in their place.
    """

    @once_differentiable  # type: ignore[untyped-decorator]
    @wraps(backward)
    def run(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with no_autocast(grad):
            return backward(ctx, grad)

    return run  # type: ignore[no-any-return]


def flat(x: Tensor) -> Tensor:
    """(B, L, C) → (B·L, C)."""
    return x.reshape(-1, x.shape[-1])


@dataclass(frozen=True)
class Convolve:
    """x (B, C_in, H, W), weight (C_out, C_in/groups, k, k) → (B, C_out, H', W')."""

    stride: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (0, 0)
    dilation: tuple[int, ...] = (1, 1)
    groups: int = 1

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def each(self, x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        """A weight of its own for every sample, (B, *weight.shape): one convolution with B·groups groups."""
        if x.shape[0] == 1:
            # reshape would change the stride of the batch's axis, from which torch's CPU kernel for channels-last,
            # grouped convolutions takes a wrong gradient of the weight: here, and in a layer that gets y as its input
            return self(x, weights[0], bias)
        together = replace(self, groups=self.groups * x.shape[0])
        y = together(
            x.reshape(1, -1, *x.shape[2:]), weights.flatten(0, 1), None if bias is None else bias.repeat(x.shape[0])
        )
        return y.view(x.shape[0], -1, *y.shape[2:])

    def positions(self, x: Tensor, kernel: tuple[int, ...]) -> int:
        """Of one sample's output, H'·W'."""
        sides = zip(x.shape[2:], kernel, self.padding, self.dilation, self.stride, strict=True)
        height, width = [(side + 2 * p - d * (k - 1) - 1) // s + 1 for side, k, p, d, s in sides]
        return height * width

    def is_pointwise(self, kernel: tuple[int, ...]) -> bool:
        """Whether an output position sees one input position."""
        return self.groups == 1 and not any(self.padding) and all(side == 1 for side in kernel)

    def seen(self, x: Tensor) -> Tensor:
        """The input positions that a 1 × 1 kernel sees, a view: (B, C_in, H', W')."""
        return x if all(step == 1 for step in self.stride) else x[:, :, :: self.stride[0], :: self.stride[1]]

    def columns(self, x: Tensor, kernel: tuple[int, ...], width: int) -> Tensor:
        """What the kernel sees at every position, cut into n parts: (B, H'·W', n, width)."""
        columns = F.unfold(x, kernel, self.dilation, self.padding, self.stride)  # (B, C_in·k·k, H'·W')
        return columns.view(x.shape[0], -1, width, columns.shape[2]).permute(0, 3, 1, 2)

    def uncolumns(self, columns: Tensor, shape: tuple[int, ...], kernel: tuple[int, ...]) -> Tensor:
        """The adjoint of :meth:`columns`: what each position of an input (B, C_in, H, W) gets from all its columns."""
        whole = columns.reshape(*columns.shape[:2], -1).transpose(1, 2)  # (B, C_in·k·k, H'·W')
        return F.fold(whole, shape[2:], kernel, self.dilation, self.padding, self.stride)

    def backward(self, grad: Tensor, x: Tensor, weight: Tensor, of_x: bool = True, of_weight: bool = True) -> Gradients:
        """The gradients of x and the weight; None where not asked for."""
        rest = (list(self.stride), list(self.padding), list(self.dilation), False, [0, 0], self.groups)
        both = torch.ops.aten.convolution_backward(grad, x, weight, None, *rest, [of_x, of_weight, False])
        return both[0], both[1]

    @staticmethod
    def of_bias(grad: Tensor) -> Tensor:
        """The gradient of the bias."""
        return grad.sum((0, 2, 3))


@dataclass(frozen=True)
class Multiply:
    """x (B, L, C_in), weight (C_out, C_in) → (B, L, C_out)."""

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.linear(x, weight, bias)

    def each(self, x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        """A weight of its own for every sample, (B, C_out, C_in)."""
        y = torch.bmm(x, weights.transpose(1, 2))
        return y if bias is None else y + bias

    def backward(self, grad: Tensor, x: Tensor, weight: Tensor, of_x: bool = True, of_weight: bool = True) -> Gradients:
        """The gradients of x and the weight; None where not asked for."""
        return grad @ weight if of_x else None, flat(grad).t() @ flat(x) if of_weight else None

    @staticmethod
    def of_bias(grad: Tensor) -> Tensor:
        """The gradient of the bias."""
        return grad.sum((0, 1))


Operation = Convolve | Multiply
