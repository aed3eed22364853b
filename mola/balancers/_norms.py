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
from mola.layers.plans.operations import Convolve


@torch.no_grad()
def gradient_norms(losses: Sequence[Tensor], layer: Sequence[Parameter]) -> Tensor:
    """‖∂L_t/∂W‖ (T,) of losses () each, over all weights of the layer, without a graph; that of the losses is kept.

    Of one convolution with few output positions the gradients themselves are not made, see :func:`_of_convolution`: a
    norm is then exact to about 10⁻⁷ of ‖X‖ ‖G_t‖.
    """
    takers = {user for loss in losses for user in users(loss, layer)}
    if len(takers) == len(layer) == 1 and _is_weight_of(user := takers.pop(), layer[0]):
        convolution = Convolve(user._saved_stride, user._saved_padding, user._saved_dilation)
        # once: a checkpoint would run its block again for each look
        x = user._saved_input
        if _pays(convolution, x, layer[0], len(losses)):
            return _of_convolution(losses, user, _inner(convolution, x, layer[0].shape[2:]))
    return torch.stack([_norm(loss, layer) for loss in losses])


def _of_convolution(losses: Sequence[Tensor], user: Any, inner: Tensor) -> Tensor:
    """With X (N, C·k²) the patches under the kernel at N positions, G_t (N, O) the gradients there, ∂L_t/∂W = G_tᵀ X.
    So ‖∂L_t/∂W‖² = ⟨X Xᵀ G_t, G_t⟩, where X Xᵀ (N, N) serves all T: last layers have few positions and many weights.
    """
    squares = []
    for loss in losses:
        (gradient,) = torch.autograd.grad(loss, [GradientEdge(user, 0)], retain_graph=True, allow_unused=True)
        if gradient is None:
            squares.append(torch.zeros_like(loss))
        else:
            g = gradient.flatten(2).transpose(1, 2).flatten(0, 1)
            squares.append(((inner @ g) * g).sum())
    # rounding may leave less than 0 of a gradient that is 0
    return torch.stack(squares).clamp(min=0).sqrt()


def _is_weight_of(user: Any, leaf: Parameter) -> bool:
    """Whether the node is a plain 2-D convolution whose weight, and nothing else, is the leaf, as it is."""
    if user.name() != "ConvolutionBackward0" or user._saved_transposed or user._saved_groups != 1:
        return False
    inputs = [getattr(node, "variable", None) is leaf for node, _ in user.next_functions]
    return inputs == [False, True, False] and leaf.dim() == 4 and not leaf._backward_hooks


def _pays(convolution: Convolve, x: Tensor, weight: Tensor, tasks: int) -> bool:
    """Whether N² (C·k² + T·O) multiplications are fewer than T·N·C·k²·O."""
    out, size, everywhere = len(weight), weight[0].numel(), len(x) * convolution.positions(x, weight.shape[2:])
    return everywhere * (size + tasks * out) < tasks * size * out


def _inner(convolution: Convolve, x: Tensor, kernel: torch.Size) -> Tensor:
    """X Xᵀ (N, N)."""
    patches = F.unfold(x, kernel, convolution.dilation, convolution.padding, convolution.stride)  # (B, C·k², L)
    rows = patches.transpose(1, 2).flatten(0, 1)
    return rows @ rows.T


def _norm(loss: Tensor, layer: Sequence[Parameter]) -> Tensor:
    gradients = torch.autograd.grad(loss, layer, retain_graph=True, allow_unused=True)
    norms = [torch.linalg.vector_norm(gradient) for gradient in gradients if gradient is not None]
    return torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros_like(loss)
