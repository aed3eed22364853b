"""The two operations that a weight takes part in, with the gradients that autograd gives them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Gradients = tuple[Tensor | None, ...]


def no_autocast(like: Tensor) -> AbstractContextManager[object]:
    """A context in which what is computed on the tensor's device keeps its precision."""
    # Operations are counted on "meta", for which there is no autocast.
    device = like.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def flat(x: Tensor) -> Tensor:
    """Rows without a batch axis: (B, L, C) → (B·L, C)."""
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

    def per_sample(self, x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        """Each sample with its weight of (B, *weight.shape), as one convolution with B·groups groups."""
        if x.shape[0] == 1:
            # Reshaping would change the stride of the batch axis, from which torch's CPU kernel for channels-last,
            # grouped convolutions takes a wrong gradient of the weight: here, and in a layer that gets y as its input.
            return self(x, weights[0], bias)
        grouped = replace(self, groups=self.groups * x.shape[0])
        biases = None if bias is None else bias.repeat(x.shape[0])
        y = grouped(x.reshape(1, -1, *x.shape[2:]), weights.flatten(0, 1), biases)
        return y.view(x.shape[0], -1, *y.shape[2:])

    def positions(self, x: Tensor, kernel: tuple[int, ...]) -> int:
        """The number of positions of one sample's output, H'·W'."""
        sides = zip(x.shape[2:], kernel, self.padding, self.dilation, self.stride, strict=True)
        height, width = [(side + 2 * p - d * (k - 1) - 1) // s + 1 for side, k, p, d, s in sides]
        return height * width

    def is_pointwise(self, kernel: tuple[int, ...]) -> bool:
        """Whether an output position reads one input position."""
        return self.groups == 1 and not any(self.padding) and all(side == 1 for side in kernel)

    def strided(self, x: Tensor) -> Tensor:
        """The input positions that a 1 × 1 kernel reads, a view: (B, C_in, H', W')."""
        return x if all(step == 1 for step in self.stride) else x[:, :, :: self.stride[0], :: self.stride[1]]

    def columns(self, x: Tensor, kernel: tuple[int, ...], width: int) -> Tensor:
        """What the kernel reads at every position, cut into n parts: (B, H'·W', n, width)."""
        columns = self.unfold(x, kernel)
        return columns.view(x.shape[0], -1, width, columns.shape[2]).permute(0, 3, 1, 2)

    def fold_columns(self, columns: Tensor, shape: tuple[int, ...], kernel: tuple[int, ...]) -> Tensor:
        """The adjoint of :meth:`columns`: what each position of an input (B, C_in, H, W) gets from all its columns."""
        # (B, C_in·k·k, H'·W')
        return self.fold(columns.reshape(*columns.shape[:2], -1).transpose(1, 2), shape, kernel)

    def unfold(self, x: Tensor, kernel: tuple[int, ...]) -> Tensor:
        """What the kernel reads at every position: (B, C_in·k·k, H'·W')."""
        return F.unfold(x, kernel, self.dilation, self.padding, self.stride)

    def fold(self, columns: Tensor, shape: tuple[int, ...], kernel: tuple[int, ...]) -> Tensor:
        """The adjoint of :meth:`unfold`: what each position of an input (B, C_in, H, W) gets from all its columns."""
        return F.fold(columns, shape[2:], kernel, self.dilation, self.padding, self.stride)

    def backward(
        self, grad_y: Tensor, x: Tensor, weight: Tensor, needs_x: bool = True, needs_weight: bool = True
    ) -> tuple[Tensor | None, Tensor | None]:
        """The gradients of x and the weight; None where not asked for."""
        settings = (list(self.stride), list(self.padding), list(self.dilation), False, [0, 0], self.groups)
        asked = [needs_x, needs_weight, False]
        gradients = torch.ops.aten.convolution_backward(grad_y, x, weight, None, *settings, asked)
        return gradients[0], gradients[1]

    @staticmethod
    def bias_gradient(grad_y: Tensor) -> Tensor:
        """The gradient of the bias, (C_out,)."""
        return grad_y.sum((0, 2, 3))


@dataclass(frozen=True)
class Multiply:
    """x (B, L, C_in), weight (C_out, C_in) → (B, L, C_out)."""

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return F.linear(x, weight, bias)

    def per_sample(self, x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        """Each sample with its weight of (B, C_out, C_in)."""
        y = torch.bmm(x, weights.transpose(1, 2))
        return y if bias is None else y + bias

    def positions(self, x: Tensor, kernel: tuple[int, ...]) -> int:
        """The number of positions of one sample's output, L."""
        return x.shape[1]

    def is_pointwise(self, kernel: tuple[int, ...]) -> bool:
        """Always true: an output position reads one input position."""
        return True

    def backward(
        self, grad_y: Tensor, x: Tensor, weight: Tensor, needs_x: bool = True, needs_weight: bool = True
    ) -> tuple[Tensor | None, Tensor | None]:
        """The gradients of x and the weight; None where not asked for."""
        return grad_y @ weight if needs_x else None, flat(grad_y).t() @ flat(x) if needs_weight else None

    @staticmethod
    def bias_gradient(grad_y: Tensor) -> Tensor:
        """The gradient of the bias, (C_out,)."""
        return grad_y.sum((0, 1))


Operation = Convolve | Multiply


class Fixed(NamedTuple):
    """What a plan computes with that has no gradient.

    scale:     α/r.
    operation: the layer's.
    counts:    of an index gate, the number of samples of each expert, E numbers.
    chosen:    (B, k) int64, the experts of each sample: of a sparse gate, or, with k = 1, of an index gate's batch that
               is not sorted by expert.
    """

    scale: float
    operation: Operation
    counts: tuple[int, ...] = ()
    chosen: Tensor | None = None
