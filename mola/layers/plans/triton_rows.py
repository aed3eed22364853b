"""The kernel of the plan "fused", in Triton. Importing this file imports Triton, so only :mod:`mola.layers.plans.fused`
does it, when the kernel is about to run.

One product on rows, which is the forward pass and, with the roles of A and B exchanged, the gradient of x too::

    y = x Wᵀ + bias + (γ ⊙ (x Aᵀ)) U

Its speed was not measured on any GPU. The tiles are of sizes with which the compiler keeps all sums in registers, or
nearly so; which ones are the fastest is not known.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# tl.dot takes no shorter side
SHORTEST = 16


# (without annotations: in a kernel Triton takes them for values)
@triton.jit  # type: ignore[untyped-decorator]
def gated_rows_kernel(  # type: ignore[no-untyped-def]
    x,
    weight,
    bias,
    down,
    up,
    gamma,
    y,
    inner,
    rows,
    positions,
    inputs,
    outputs,
    width,
    rank,
    experts,
    weight_by_output,
    weight_by_input,
    ROWS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    INPUTS: tl.constexpr,
    WIDTH: tl.constexpr,
    WIDEN: tl.constexpr,
):
    """One tile (ROWS, OUTPUTS) of y, and of ``inner`` where it is the first of its rows.

    x (rows, inputs), down (width, inputs), up (width, outputs), gamma (samples, experts), y (rows, outputs), inner
    (rows, width), each contiguous; weight (outputs, inputs) by its two strides; bias (outputs) or None.
    Sums are in fp32, and places beyond an array's end count as zero. WIDEN: also multiply in fp32, which changes no
    value: Triton's interpreter multiplies the bits of bfloat16 numbers as if they were integers.
    """
    # Tiles of the same rows follow each other, so that all but the first find x in the cache.
    column_tiles = tl.cdiv(outputs, OUTPUTS)
    row_tile = tl.program_id(0) // column_tiles
    column_tile = tl.program_id(0) % column_tiles
    # (rows × inputs may exceed 32 bits)
    row = row_tile.to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = column_tile * OUTPUTS + tl.arange(0, OUTPUTS)
    place = tl.arange(0, WIDTH)
    is_row, is_column, is_place = row < rows, column < outputs, place < width

    sums = tl.zeros((ROWS, OUTPUTS), dtype=tl.float32)
    small = tl.zeros((ROWS, WIDTH), dtype=tl.float32)
    for first in range(0, inputs, INPUTS):
        channel = first + tl.arange(0, INPUTS)
        is_channel = channel < inputs
        x_tile = tl.load(
            x + row[:, None] * inputs + channel[None, :], mask=is_row[:, None] & is_channel[None, :], other=0.0
        )
        weight_tile = tl.load(
            weight + column[None, :].to(tl.int64) * weight_by_output + channel[:, None].to(tl.int64) * weight_by_input,
            mask=is_channel[:, None] & is_column[None, :],
            other=0.0,
        )
        down_tile = tl.load(
            down + place[None, :] * inputs + channel[:, None],
            mask=is_channel[:, None] & is_place[None, :],
            other=0.0,
        )
        if WIDEN:
            x_tile, weight_tile, down_tile = x_tile.to(tl.float32), weight_tile.to(tl.float32), down_tile.to(tl.float32)
        sums = tl.dot(x_tile, weight_tile, sums, input_precision="ieee")
        small = tl.dot(x_tile, down_tile, small, input_precision="ieee")

    is_small = is_row[:, None] & is_place[None, :]
    if column_tile == 0:
        tl.store(inner + row[:, None] * width + place[None, :], small.to(inner.dtype.element_ty), mask=is_small)
    sample = row // positions
    weights = tl.load(gamma + sample[:, None] * experts + (place // rank)[None, :], mask=is_small, other=0.0)
    gated = (small * weights.to(tl.float32)).to(up.dtype.element_ty)
    up_tile = tl.load(
        up + place[:, None] * outputs + column[None, :], mask=is_place[:, None] & is_column[None, :], other=0.0
    )
    if WIDEN:
        gated, up_tile = gated.to(tl.float32), up_tile.to(tl.float32)
    sums = tl.dot(gated, up_tile, sums, input_precision="ieee")
    if bias is not None:
        sums += tl.load(bias + column, mask=is_column, other=0.0).to(tl.float32)[None, :]
    tl.store(
        y + row[:, None] * outputs + column[None, :],
        sums.to(y.dtype.element_ty),
        mask=is_row[:, None] & is_column[None, :],
    )


def is_interpreted() -> bool:
    """Whether Triton runs its kernels on the CPU, as it decided when it was imported."""
    return not isinstance(gated_rows_kernel, triton.runtime.JITFunction)


def tiles(width: int, element_size: int) -> dict[str, int]:
    """The sizes of a tile, and how many warps work on it, for so many columns of x Aᵀ, of so many bytes a number."""
    padded, half = max(SHORTEST, triton.next_power_of_2(width)), element_size == 2
    return {
        "ROWS": 64,
        "OUTPUTS": 128 if padded <= (64 if half else 32) else 64,
        "INPUTS": 64 if half else 32,
        "WIDTH": padded,
        "num_warps": 4 if half and padded <= 64 else 8,
        "num_stages": 3,
    }


def gated_rows(
    x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, gamma: Tensor
) -> tuple[Tensor, Tensor]:
    """x (B, L, C_in), weight (C_out, C_in), bias (C_out), down (E·r, C_in), up (E·r, C_out), gamma (B, E) → the product
    above, (B, L, C_out), and x Aᵀ, (B, L, E·r), both in x's precision.
    """
    (samples, positions, inputs), (outputs, _), (width, _) = x.shape, weight.shape, down.shape
    x, down, up, gamma = x.contiguous(), down.contiguous(), up.contiguous(), gamma.contiguous()
    bias = None if bias is None else bias.contiguous()
    y, inner = x.new_empty(samples, positions, outputs), x.new_empty(samples, positions, width)
    if y.numel() == 0:
        return y, inner
    sizes = tiles(width, x.element_size())
    grid = (triton.cdiv(samples * positions, sizes["ROWS"]) * triton.cdiv(outputs, sizes["OUTPUTS"]),)
    experts = gamma.shape[1]
    shapes = (samples * positions, positions, inputs, outputs, width, width // experts, experts)
    arrays = (x, weight, bias, down, up, gamma, y, inner)
    # Triton launches on the current device
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        gated_rows_kernel[grid](*arrays, *shapes, *weight.stride(), **sizes, WIDEN=is_interpreted())
    return y, inner
