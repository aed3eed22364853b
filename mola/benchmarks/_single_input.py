"""Benchmarks where every image has every task: dense predictions of one scene."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from mola import metrics
from mola.benchmarks import Benchmark, Images, Uniform
from mola.data.batches import augment_dense
from mola.data.batches.sampling import Picks
from mola.data.batches.threads import spread
from mola.data.prepare import store
from mola.types import Batch, Kind, Split, Task

if TYPE_CHECKING:
    from torch import Tensor


def dense_tasks(classes: int) -> tuple[Task, ...]:
    """Return three tasks named after their kind: segmentation into some classes, depth and normals."""
    return (
        Task("segmentation", "segmentation", classes, metrics.names("segmentation")),
        Task("depth", "depth", 1, metrics.names("depth")),
        Task("normals", "normals", 3, metrics.names("normals")),
    )


class SingleInput(Benchmark):
    """One group of samples, ``all``, with an array for each task beside the images; a task's array is named after it.

    segmentation: (N, H, W) int8, −1 unlabelled. depth: (N, H, W) float32 metres, 0 unknown.
    normals:      (N, H, W, 3) float32 unit vectors in the camera's coordinates, x to the right; 0 unknown.

    Put it before the class that says where the arrays come from: ``class Scenes(SingleInput, Packaged)``.
    """

    heterogeneity = "single-input task"
    draws = augment_dense.DRAWS
    scales: ClassVar[augment_dense.Scales] = augment_dense.SCALES  # of the zoom

    @property
    def groups(self) -> tuple[str, ...]:
        """One group, as every sample has every task."""
        return ("all",)

    def sizes(self, split: Split) -> dict[str, int]:
        """Return the samples of a split, the same number for every task."""
        return {task.name: self.group_sizes(split)["all"] for task in self.tasks}

    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """Zoom and mirror, as the paper does to NYUv2; :meth:`augmented_target` does the same to the targets."""
        return augment_dense.images(images, uniform, self.scales)

    def augmented_target(self, kind: Kind, target: store.Array, uniform: NDArray[np.float32]) -> store.Array:
        """Move the targets (B, H, W, …) of a kind of task with the images that have the same numbers."""
        if kind == "depth":
            return augment_dense.depth(target, uniform, self.scales)
        if kind == "normals":
            return augment_dense.normals(target, uniform, self.scales)
        return augment_dense.nearest(target, uniform, self.scales)

    def batch(self, split: Split, picked: Picks, uniform: Uniform | None) -> Batch:
        """Return the picked images with all their targets, which move with them where there are ``uniform`` numbers."""
        import torch

        rows, y = picked["all"], {}
        images = self.arrays[f"all.{split}.images"][rows]
        for task in self.tasks:
            target = self.arrays[f"all.{split}.{task.name}"][rows]
            if uniform is not None:
                change = partial(self.augmented_target, task.kind)
                target = np.concatenate(spread(change, target, uniform["all"], self.threads))
            y[task.name] = _as_target(task.kind, target)
        if uniform is not None:
            images = np.concatenate(spread(self.augmented, images, uniform["all"], self.threads))
        x = torch.from_numpy(images).permute(0, 3, 1, 2)
        return Batch(x, None, y, tuple(task.name for task in self.tasks))


def _as_target(kind: Kind, target: store.Array) -> Tensor:
    """Turn prepared arrays (B, H, W, …) into what ``Batch.y`` has."""
    import torch

    tensor = torch.from_numpy(target)
    if kind == "segmentation":
        return tensor.long()
    return tensor.float().unsqueeze(1) if kind == "depth" else tensor.float().permute(0, 3, 1, 2).contiguous()
