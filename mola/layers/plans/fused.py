"""The plan "fused" of the weight gate: y = W x + B (γ ⊙ A x) in one kernel that reads x and writes y once, where the
factored plan passes over both again. For rows: of a linear layer, or the positions of maps under a 1 × 1 kernel.

The kernel is :mod:`mola.layers.plans.triton_rows`, in Triton, which PyTorch brings along with CUDA. Without a GPU it
runs in Triton's interpreter alone (``TRITON_INTERPRET=1`` in the environment), which is for tests. How fast it is was
not measured.

Names as in :mod:`mola.layers.plans.weighted`: gamma (B, E), a (E, r, C_in), b (E, C_out, r).
"""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mola.layers.plans.operations import Fixed, Gradients, Multiply, Operation, flat
from mola.layers.plans.written import differentiable
from mola.types import BadInput

PRECISIONS = (torch.float32, torch.bfloat16, torch.float16)
# The kernel keeps this many columns of x Aᵀ in registers, beside a tile of y.
LARGEST_WIDTH = 128
# the oldest GPUs that the kernel is compiled for in tests
CAPABILITY = (8, 0)


@torch.library.custom_op("mola::gated_rows", mutates_args=())
def gated_rows(
    x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, gamma: Tensor
) -> tuple[Tensor, Tensor]:
    """x Wᵀ + bias + (γ ⊙ (x downᵀ)) up, (B, L, C_out), and x downᵀ, (B, L, E·r), both in x's precision.

    x (B, L, C_in), weight (C_out, C_in), bias (C_out), down (E·r, C_in), up (E·r, C_out), gamma (B, E); all but bias
    and gamma in x's precision. Sums are in fp32, and fp32 numbers are never rounded to TF32. Raises BadInput where
    Triton can't run.
    """
    if reason := unavailable(x.device):
        raise BadInput(f"plan: fused {reason}")
    from mola.layers.plans import triton_rows

    return triton_rows.gated_rows(x, weight, bias, down, up, gamma)


@gated_rows.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(*x.shape[:2], weight.shape[0]), x.new_empty(*x.shape[:2], down.shape[0])


@gated_rows.register_vmap
def _(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor | None) -> tuple[tuple[Tensor, Tensor], Any]:
    """One after the other, as for the gradients of several losses."""
    results = []
    for i in range(info.batch_size):
        each = [t if dim is None or t is None else t.select(dim, i) for t, dim in zip(inputs, in_dims, strict=True)]
        results.append(gated_rows(*each))
    y, inner = (torch.stack(parts) for parts in zip(*results, strict=True))
    return (y, inner), (0, 0)


class FusedRows(torch.autograd.Function):
    """x (B, L, C_in), contiguous → (B, L, C_out). The gradient of x comes from the same kernel; those of A, B and γ are
    thin products with what the kernel stores beside y: x Aᵀ, and in backward the gradient of γ ⊙ (x Aᵀ).
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, gamma: Tensor, fixed: Fixed
    ) -> Tensor:
        down = a.flatten(0, 1).to(x.dtype)  # (E·r, C_in)
        # (E·r, C_out)
        up = (fixed.scale * b).to(x.dtype).transpose(1, 2).flatten(0, 1)
        y: Tensor
        y, inner = gated_rows(x, weight.to(x.dtype), bias, down, up, gamma)
        ctx.save_for_backward(x, weight, a, b, gamma, down, up, inner)
        ctx.fixed = fixed
        return y

    @staticmethod
    @differentiable
    def backward(ctx: Any, grad_y: Tensor) -> Gradients:
        x, weight, a, _, gamma, down, up, inner = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, needs_a, needs_b, needs_gamma, _ = ctx.needs_input_grad
        if needs_x:
            grad_x, grad_gated = gated_rows(grad_y, weight.to(x.dtype).t(), None, up, down, gamma)
        else:
            grad_x, grad_gated = None, grad_y @ up.t()
        grad_y, rows = flat(grad_y), flat(x)
        by_column = gamma.repeat_interleave(a.shape[1], 1).to(x.dtype)[:, None]  # (B, 1, E·r)
        grad_down = flat(grad_gated * by_column).t() @ rows if needs_a else None  # (E·r, C_in)
        grad_up = flat(inner * by_column).t() @ grad_y if needs_b else None  # (E·r, C_out)
        return (
            grad_x,
            grad_y.t() @ rows if needs_weight else None,
            grad_y.sum(0) if needs_bias else None,
            None if grad_down is None else grad_down.view(a.shape),
            None if grad_up is None else (ctx.fixed.scale * grad_up).view(*a.shape[:2], -1).transpose(1, 2),
            (grad_gated * inner).sum(1).view(*gamma.shape, -1).sum(2) if needs_gamma else None,
            None,
        )


def run(
    operation: Operation,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    gamma: Tensor,
    scale: float,
) -> Tensor:
    """The output of a layer that the plan takes, see :func:`why_not`. Maps are rows in the layout channels last; of
    another layout they are copied, and so is the output. Raises BadInput for a precision that the kernel lacks.
    """
    if x.dtype not in PRECISIONS:
        name = str(x.dtype).removeprefix("torch.")
        raise BadInput(f"plan: fused computes in float32, bfloat16 and float16, found {name}")
    fixed = Fixed(scale, Multiply())
    if isinstance(operation, Multiply):
        rows: Tensor = FusedRows.apply(x.contiguous(), weight, bias, a, b, gamma, fixed)
        return rows
    last = x.is_contiguous(memory_format=torch.channels_last)
    maps = operation.strided(x).permute(0, 2, 3, 1)
    rows = FusedRows.apply(maps.reshape(x.shape[0], -1, x.shape[1]), weight.flatten(1), bias, a, b, gamma, fixed)
    y = rows.view(*maps.shape[:3], -1).permute(0, 3, 1, 2)
    return y if last else y.contiguous()


def why_not(layer: Any, experts: int) -> str | None:
    """Why the plan can't be forced on a layer whose gate weighs so many experts, as the rest of a sentence that begins
    with its name; None where it can.
    """
    if layer.weight.dim() != 2 and not _is_pointwise(layer):
        return "takes linear layers, and 1 × 1 convolutions without groups and padding"
    if (width := experts * layer.rank) > LARGEST_WIDTH:
        return f"takes at most {LARGEST_WIDTH} for experts × rank, found {experts} × {layer.rank} = {width}"
    # A graph is not traced through the search for a package: the operator asks again when it runs.
    return None if torch.compiler.is_compiling() else unavailable(layer.weight.device)


def unavailable(device: torch.device) -> str | None:
    """Why the kernel can't run on a device, as :func:`why_not` says it; None where it can."""
    # Operations are counted on "meta", where nothing runs.
    if device.type == "meta":
        return None
    if not _has_triton():
        return "needs the package triton, which comes with PyTorch for CUDA, and which is not installed"
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability >= CAPABILITY:
            return None
        return "needs a GPU of compute capability {}.{}, found {}.{}".format(*CAPABILITY, *capability)
    if device.type == "cpu" and os.environ.get("TRITON_INTERPRET"):
        from mola.layers.plans import triton_rows

        if triton_rows.is_interpreted():
            return None
    return f"runs on CUDA, elsewhere in Triton's interpreter alone (TRITON_INTERPRET=1), found {device.type}"


def _is_pointwise(layer: Any) -> bool:
    """Whether a position of a convolution's output reads one position of its input, and all channels there."""
    # padding by a word, "same" or "valid", is none for such a kernel
    padded = not isinstance(layer.padding, str) and any(layer.padding)
    return layer.groups == 1 and not padded and all(side == 1 for side in layer.weight.shape[2:])


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None
