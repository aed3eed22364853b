"""Which drawings look like an image that a packaged benchmark tests: no pretraining may see one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mola import registry
from mola.benchmarks._packaged import Packaged

SIDE = 16  # pixels of a thumbnail


def tested(data: Path) -> Mapping[str, list[NDArray[np.uint8]]]:
    """All test images of every packaged benchmark, by its name, in arrays (N, H, W, C); they must be prepared."""
    images = {}
    for name in registry.names("benchmarks"):
        benchmark = registry.load("benchmarks", name)
        if issubclass(benchmark, Packaged):
            arrays = benchmark.create(data).arrays
            images[name] = [array for key, array in arrays.items() if key.endswith(".test.images")]
    return images


def thumbnails(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images (N, H, W) or (N, H, W, C), H and W multiples of 16, as grey thumbnails (N, 256) of mean 0 and length 1;
    where an image has one colour only, all numbers are 0.
    """
    grey = images.astype(np.float32)
    if grey.ndim == 4:
        grey = grey.mean(axis=3)
    count, height, width = grey.shape
    small = grey.reshape(count, SIDE, height // SIDE, SIDE, width // SIDE).mean(axis=(2, 4)).reshape(count, -1)
    small -= small.mean(axis=1, keepdims=True)
    length = np.linalg.norm(small, axis=1, keepdims=True)
    unit: NDArray[np.float32] = np.divide(small, length, out=np.zeros_like(small), where=length > 1e-3)
    return unit


def similarity(images: NDArray[np.uint8], others: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """The largest correlation of each image's thumbnail with that of another image, or of its inverse: (N,)."""
    first = thumbnails(images)
    largest = np.zeros(len(first), dtype=np.float32)
    for block in others:
        np.maximum(largest, np.abs(first @ thumbnails(block).T).max(axis=1), out=largest)
    return largest
