"""Pooling and resizing of maps as products with constant matrices.

torch's own have no deterministic backward on CUDA; these give the same values, and are matrix products throughout.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def pooled(x: Tensor, levels: tuple[int, ...]) -> list[Tensor]:
    """(B, C, h, w) → for each level n (B, C, n, n), the values of ``F.adaptive_avg_pool2d(x, n)``, in fp32 at least."""
    with torch.autocast(x.device.type, enabled=False):  # bf16 would round the matrix
        x = x if x.dtype == torch.float64 else x.float()
        cells = F.linear(x.flatten(2), _pyramid((x.shape[-2], x.shape[-1]), levels, x.device, x.dtype))  # reads x once
    parts = torch.split(cells, [n * n for n in levels], 2)
    return [part.reshape(*part.shape[:2], n, n) for part, n in zip(parts, levels, strict=True)]


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) → (B, C, *size), the values of ``F.interpolate(mode="bilinear")``, corners not aligned, in fp32 at
    least.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = x if x.dtype == torch.float64 else x.float()
        rows, columns = (_interpolation(a, b, x.device, x.dtype) for a, b in zip(x.shape[-2:], size, strict=True))
        return F.linear(F.linear(x.transpose(-1, -2), rows).transpose(-1, -2), columns)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _pyramid(size: tuple[int, int], levels: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """(Σ n², h·w): all cells of all levels, row by row."""
    return torch.cat([torch.kron(*(_averages(side, n) for side in size)) for n in levels]).to(device, dtype)


def _averages(length: int, cells: int) -> Tensor:
    """(cells, length): cell i averages the pixels ⌊i·length/cells⌋ … ⌈(i + 1)·length/cells⌉ − 1."""
    number, pixel = torch.arange(cells)[:, None], torch.arange(length)
    inside = (pixel >= number * length // cells) & (pixel < -((number + 1) * -length // cells))
    return inside.double() / inside.sum(1, keepdim=True)


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _interpolation(length: int, size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(size, length): each new pixel's centre between the centres of its two neighbours, or at the border."""
    place = ((torch.arange(size).double() + 0.5) * length / size - 0.5).clamp(0, length - 1)
    return (1 - (place[:, None] - torch.arange(length)).abs()).clamp(min=0).to(device, dtype)
