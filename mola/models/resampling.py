"""Pooling and resizing of maps as products with small constant matrices, one per axis.

torch's own have no deterministic backward on CUDA; these give the same values, and are matrix products throughout.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

Matrix = Callable[[int, int, torch.device, torch.dtype], Tensor]  # pixels before, after → (after, before)


def pooled(x: Tensor, cells: int) -> Tensor:
    """(B, C, h, w) → (B, C, cells, cells), the values of ``F.adaptive_avg_pool2d``, in fp32 at least."""
    return _along_both(_averages, x, (cells, cells))


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) → (B, C, *size), the values of ``F.interpolate(mode="bilinear")``, corners not aligned, in fp32 at
    least.
    """
    return _along_both(_interpolation, x, size)


def _along_both(matrix: Matrix, x: Tensor, size: tuple[int, int]) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):  # bf16 would round the matrices
        x = x if x.dtype == torch.float64 else x.float()
        rows, columns = (matrix(a, b, x.device, x.dtype) for a, b in zip(x.shape[-2:], size, strict=True))
        return F.linear(F.linear(x.transpose(-1, -2), rows).transpose(-1, -2), columns)


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _averages(length: int, cells: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(cells, length): cell i averages the pixels ⌊i·length/cells⌋ … ⌈(i + 1)·length/cells⌉ − 1."""
    cell, pixel = torch.arange(cells)[:, None], torch.arange(length)
    inside = (pixel >= cell * length // cells) & (pixel < -((cell + 1) * -length // cells))
    return (inside.double() / inside.sum(1, keepdim=True)).to(device, dtype)


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _interpolation(length: int, wanted: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(wanted, length): the centre of each wanted pixel between the centres of its two neighbours, or at the border."""
    place = ((torch.arange(wanted).double() + 0.5) * length / wanted - 0.5).clamp(0, length - 1)
    return (1 - (place[:, None] - torch.arange(length)).abs()).clamp(min=0).to(device, dtype)
