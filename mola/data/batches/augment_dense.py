"""Augmentation of images together with their dense targets: the paper's for NYUv2, scale-crop and flip.

Source: MTAN's convention (Liu et al. 2019, arXiv 1803.10704), which the paper's released code follows: zoom by 1, 1.2
or 1.5 into a window that is placed at random, mirror every second sample. Ours in two points: samples are taken at the
centres of pixels for images and targets alike, and normals are not interpolated, which would shorten them at edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Scales = Sequence[float]
SCALES: Scales = (1.0, 1.2, 1.5)
DRAWS = 4  # numbers in [0, 1) of a sample: scale, row, column, flip


class Windows(NamedTuple):
    """Where each sample's window lies, in whole pixels, and whether it is mirrored: (B,) each."""

    scale: NDArray[np.float32]
    top: NDArray[np.int64]
    left: NDArray[np.int64]
    height: NDArray[np.int64]
    width: NDArray[np.int64]
    mirrored: NDArray[np.bool_]


def windows(uniform: NDArray[np.float32], height: int, width: int, scales: Scales = SCALES) -> Windows:
    """Place the windows. uniform: (B, ≥ 4) in [0, 1); window i depends on row i alone."""
    kind = (uniform[:, 0] * len(scales)).astype(np.int64)
    tall, wide = (np.array([int(side / scale) for scale in scales])[kind] for side in (height, width))
    top = (uniform[:, 1] * (height - tall + 1)).astype(np.int64)
    left = (uniform[:, 2] * (width - wide + 1)).astype(np.int64)
    return Windows(np.array(scales, np.float32)[kind], top, left, tall, wide, uniform[:, 3] < 0.5)


def images(batch: NDArray[np.uint8], uniform: NDArray[np.float32], scales: Scales = SCALES) -> NDArray[np.uint8]:
    """Enlarge the window of each image (B, H, W, 3) uint8 bilinearly, and mirror some: the same shape."""
    result = np.empty_like(batch)
    for window, out in _windows(batch, result, uniform, scales):
        if window.shape == out.shape:
            out[:] = window
            continue
        (above, below, down), (before, after, right) = map(_between, window.shape, out.shape[:2])
        # rows of the new image, columns of the old
        tall = _mixed(window[above], window[below], down[:, None, None])
        out[:] = np.rint(_mixed(tall[:, before], tall[:, after], right[:, None]))
    return result


def nearest(batch: NDArray[Any], uniform: NDArray[np.float32], scales: Scales = SCALES) -> NDArray[Any]:
    """Enlarge the window of each target (B, H, W, …) without mixing values, and mirror some: the same shape."""
    result = np.empty_like(batch)
    for window, out in _windows(batch, result, uniform, scales):
        rows, columns = map(_nearest, window.shape, out.shape[:2])
        out[:] = window[rows][:, columns]
    return result


def depth(batch: NDArray[np.float32], uniform: NDArray[np.float32], scales: Scales = SCALES) -> NDArray[np.float32]:
    """Do so with metres (B, H, W): what is magnified by the scale looks that much nearer. Unknown (0) stays unknown."""
    scale = windows(uniform, batch.shape[1], batch.shape[2], scales).scale
    nearer: NDArray[Any] = nearest(batch, uniform, scales) / scale[:, None, None]
    return nearer


def normals(batch: NDArray[np.float32], uniform: NDArray[np.float32], scales: Scales = SCALES) -> NDArray[np.float32]:
    """Do so with unit vectors (B, H, W, 3), x pointing right: in a mirrored image x changes its sign."""
    moved = nearest(batch, uniform, scales)
    mirrored = windows(uniform, batch.shape[1], batch.shape[2], scales).mirrored
    moved[..., 0] *= np.where(mirrored, -1, 1)[:, None, None]
    return moved


def tinted(batch: NDArray[np.uint8], uniform: NDArray[np.float32], strength: float) -> NDArray[np.uint8]:
    """Multiply the colours of each image (B, H, W, 3) uint8 by 1 ± ``strength``. uniform: (B, 3) in [0, 1)."""
    gains = 1 + strength * (2 * uniform - 1)
    result: NDArray[np.uint8] = np.minimum(np.rint(batch * gains[:, None, None]), 255).astype(np.uint8)
    return result


def _windows(
    batch: NDArray[Any], result: NDArray[Any], uniform: NDArray[np.float32], scales: Scales
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield views of each sample's window and of where it goes; the latter is mirrored if the sample is."""
    at = windows(uniform, batch.shape[1], batch.shape[2], scales)
    for image, out, top, left, height, width, mirrored in zip(
        batch, result, at.top, at.left, at.height, at.width, at.mirrored, strict=True
    ):
        yield image[top : top + height, left : left + width], out[:, ::-1] if mirrored else out


def _mixed(one: NDArray[Any], other: NDArray[Any], share: NDArray[np.float32]) -> NDArray[Any]:
    return one * (1 - share) + other * share


@cache
def _nearest(length: int, side: int) -> NDArray[np.int64]:
    """Return (side,): the pixel out of ``length`` that the centre of each new pixel lies in."""
    return np.arange(1, 2 * side, 2) * length // (2 * side)


@cache
def _between(length: int, side: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return (side,) each: the two pixels between whose centres each new centre lies, and the share of the second."""
    centres = np.clip(np.arange(1, 2 * side, 2) * length / (2 * side) - 0.5, 0, length - 1)
    one = np.floor(centres).astype(np.int64)
    return one, np.minimum(one + 1, length - 1), (centres - one).astype(np.float32)
