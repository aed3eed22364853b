"""Augmentation of a batch, sample by sample and without a loop: every function takes the numbers that it depends on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mola.seeds import derive

Images = NDArray[np.uint8]  # (B, H, W, 3)


def uniforms(size: int, count: int, seed: int, epoch: int, task: str) -> NDArray[np.float32]:
    """Return (size, count) numbers in [0, 1): row i is for sample i and depends on (seed, epoch, task, i) alone.

    So a sample is augmented alike in whatever batch, worker or subset it is. The numbers are drawn row by row: a
    shorter table is a prefix of a longer one.
    """
    return np.random.default_rng(derive(seed, "augmentation", epoch, task)).random((size, count), dtype=np.float32)


def shift(images: Images, uniform: NDArray[np.float32], pixels: int) -> Images:
    """Move each image by up to ± ``pixels`` in both directions, repeating the edge. uniform: (B, 2) in [0, 1)."""
    size, height, width, _ = images.shape
    offset = (uniform * (2 * pixels + 1)).astype(np.int64) - pixels  # (B, 2), whole pixels
    rows = np.clip(np.arange(height) + offset[:, :1], 0, height - 1)  # (B, H)
    columns = np.clip(np.arange(width) + offset[:, 1:], 0, width - 1)  # (B, W)
    moved: Images = images[np.arange(size)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved
