"""Augmentation of images together with their dense targets: the paper's for NYUv2, scale-crop and flip.

Source: MTAN's convention (Liu et al. 2019, arXiv 1803.10704), which the paper's released code follows: zoom by 1, 1.2
or 1.5 into a window that is placed at random, mirror every second sample. Ours in two points: samples are taken at the
centres of pixels for images and targets alike, and normals are not interpolated, which would shorten them at edges.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SCALES = (1.0, 1.2, 1.5)
DRAWS = 4  # numbers in [0, 1) of a sample: scale, row, column, flip


class Windows(NamedTuple):
    """Where each sample's window lies, in whole pixels, and whether it is mirrored: (B,) each."""

    scale: NDArray[np.float32]
    top: NDArray[np.int64]
    left: NDArray[np.int64]
    height: NDArray[np.int64]
    width: NDArray[np.int64]
    mirrored: NDArray[np.bool_]


def windows(uniform: NDArray[np.float32], height: int, width: int) -> Windows:
    """uniform: (B, ≥ 4) in [0, 1). Row i depends on nothing but row i."""
    kind = (uniform[:, 0] * len(SCALES)).astype(np.int64)
    tall, wide = (np.array([int(side / scale) for scale in SCALES])[kind] for side in (height, width))
    top = (uniform[:, 1] * (height - tall + 1)).astype(np.int64)
    left = (uniform[:, 2] * (width - wide + 1)).astype(np.int64)
    return Windows(np.array(SCALES, np.float32)[kind], top, left, tall, wide, uniform[:, 3] < 0.5)


def images(batch: NDArray[np.uint8], uniform: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(B, H, W, 3) uint8 → the same, each zoomed bilinearly into its window and mirrored."""
    _, height, width, _ = batch.shape
    at = windows(uniform, height, width)
    rows, columns = _positions(at.height, height), _positions(at.width, width, at.mirrored)
    above, below, down = _neighbours(rows, at.top, at.height)
    before, after, right = _neighbours(columns, at.left, at.width)
    samples = np.arange(len(batch))[:, None]
    tall = _mixed(batch[samples, above], batch[samples, below], down[:, :, None, None])  # (B, H, W, 3), rows resampled
    every = (samples[:, :, None], np.arange(height)[:, None])
    mixed = _mixed(tall[(*every, before[:, None])], tall[(*every, after[:, None])], right[:, None, :, None])
    made: NDArray[np.uint8] = np.rint(mixed).astype(np.uint8)
    return made


def nearest(batch: NDArray[Any], uniform: NDArray[np.float32]) -> NDArray[Any]:
    """(B, H, W, …) of any kind → the same, each zoomed into its window and mirrored, without mixing values."""
    height, width = batch.shape[1:3]
    at = windows(uniform, height, width)
    rows = at.top[:, None] + np.floor(_positions(at.height, height)).astype(np.int64)
    columns = at.left[:, None] + np.floor(_positions(at.width, width, at.mirrored)).astype(np.int64)
    found: NDArray[Any] = batch[np.arange(len(batch))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return found


def depth(batch: NDArray[np.float32], uniform: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, H, W) metres: what is magnified by the scale looks that much nearer. Unknown (0) stays unknown."""
    scale = windows(uniform, *batch.shape[1:3]).scale
    nearer: NDArray[Any] = nearest(batch, uniform) / scale[:, None, None]
    return nearer


def normals(batch: NDArray[np.float32], uniform: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, H, W, 3) unit vectors, x pointing right: in a mirrored image x changes its sign."""
    moved = nearest(batch, uniform)
    moved[..., 0] *= np.where(windows(uniform, *batch.shape[1:3]).mirrored, -1, 1)[:, None, None]
    return moved


def _mixed(one: NDArray[Any], other: NDArray[Any], share: NDArray[np.float32]) -> NDArray[Any]:
    return one * (1 - share) + other * share


def _positions(length: NDArray[np.int64], side: int, mirrored: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """(B, side): where the centres of the new pixels lie in windows of some lengths, counted from the edge."""
    centres = np.broadcast_to(np.arange(side) + 0.5, (len(length), side))
    if mirrored is not None:
        centres = np.where(mirrored[:, None], side - centres, centres)
    return centres * length[:, None] / side


def _neighbours(
    positions: NDArray[np.float64], start: NDArray[np.int64], length: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The two pixels, within the window, whose centres a position lies between, and the share of the second."""
    inside = np.clip(positions - 0.5, 0, length[:, None] - 1)
    one = np.floor(inside).astype(np.int64)
    two = np.minimum(one + 1, length[:, None] - 1)
    return start[:, None] + one, start[:, None] + two, (inside - one).astype(np.float32)
