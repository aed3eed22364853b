"""How large the gradients of several losses are on one layer's weights, where nothing else of them is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import GradientEdge
from torch.nn import Parameter

from mola.balancers._graph import users


def gradient_norms(losses: Sequence[Tensor], layer: Sequence[Parameter]) -> Tensor:
    """‖∂L_t/∂W‖ (T,) of losses () each, over all weights of the layer; the graph is kept.

    Of one convolution with few output positions the gradients themselves are not made: see :func:`_of_convolution`.
    """
    found = {user for loss in losses for user in users(loss, layer)}
    if len(found) == 1 and len(layer) == 1 and _pays(only := found.pop(), len(losses)):
        return _of_convolution(losses, only)
    return torch.stack([_norm(loss, layer) for loss in losses])


def _of_convolution(losses: Sequence[Tensor], convolution: Any) -> Tensor:
    """With X (N, C·k²) the patches under the kernel at N positions, G_t (N, O) the gradients there, ∂L_t/∂W = G_tᵀ X.
    So ‖∂L_t/∂W‖² = ⟨X Xᵀ G_t, G_t⟩, where X Xᵀ (N, N) serves all T: last layers have few positions and many weights.
    """
    patches = F.unfold(
        convolution._saved_input,
        convolution._saved_weight.shape[2:],
        convolution._saved_dilation,
        convolution._saved_padding,
        convolution._saved_stride,
    )  # (B, C·k², L)
    x = patches.transpose(1, 2).flatten(0, 1)
    inner = x @ x.T
    squares = []
    for loss in losses:
        (gradient,) = torch.autograd.grad(loss, [GradientEdge(convolution, 0)], retain_graph=True, allow_unused=True)
        if gradient is None:
            squares.append(torch.zeros_like(loss))
        else:
            g = gradient.flatten(2).transpose(1, 2).flatten(0, 1)
            squares.append(((inner @ g) * g).sum())
    return torch.stack(squares).clamp(min=0).sqrt()  # rounding may leave less than 0 of a gradient that is 0


def _pays(user: Any, tasks: int) -> bool:
    """Whether it is a plain 2-D convolution, and N² (C·k² + T·O) multiplications are fewer than T·N·C·k²·O."""
    if user.name() != "ConvolutionBackward0" or user._saved_transposed or user._saved_groups != 1:
        return False
    x, weight = user._saved_input, user._saved_weight
    if x.dim() != 4:
        return False
    out, size = len(weight), weight[0].numel()
    sides = zip(
        x.shape[2:],
        weight.shape[2:],
        user._saved_padding,
        user._saved_dilation,
        user._saved_stride,
        strict=True,
    )
    positions = len(x)
    for side, kernel, padding, dilation, stride in sides:
        positions *= (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    return bool(positions * (size + tasks * out) < tasks * size * out)


def _norm(loss: Tensor, layer: Sequence[Parameter]) -> Tensor:
    found = torch.autograd.grad(loss, layer, retain_graph=True, allow_unused=True)
    norms = [torch.linalg.vector_norm(gradient) for gradient in found if gradient is not None]
    return torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros_like(loss)
