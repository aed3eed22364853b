"""Benchmarks where every image has every task: dense predictions of one scene."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from mola import metrics
from mola.benchmarks import Benchmark, Images
from mola.data.batches import augment, augment_dense
from mola.data.batches.sampling import picks
from mola.data.batches.sampling import steps as number_of_steps
from mola.data.batches.threads import spread
from mola.data.prepare import store
from mola.types import Batch, Kind, Sampling, Split, Task

if TYPE_CHECKING:
    from torch import Tensor


def dense_tasks(classes: int) -> tuple[Task, ...]:
    """Segmentation into some classes, depth and normals, each named after its kind."""
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
        """One: every sample has every task."""
        return ("all",)

    def sizes(self, split: Split) -> dict[str, int]:
        """The samples of a split, the same for every task."""
        number = self._number(split)
        return {task.name: number for task in self.tasks}

    def steps(self, *, size: int, sampling: Sampling = "balanced") -> int:
        """The number of training batches of an epoch."""
        return number_of_steps({"all": self._number("train")}, size, sampling)

    def batches(
        self, split: Split, *, size: int, seed: int, epoch: int, sampling: Sampling = "balanced"
    ) -> Iterator[Batch]:
        """The uint8 batches of one pass, with the targets of all tasks. train: shuffled and augmented; else every
        sample once, in order. Both ways of sampling come to the same: no task can be absent.
        """
        number = self._number(split)
        if split != "train":
            for start in range(0, number, size):
                yield self._batch_of(split, np.arange(start, min(start + size, number)), None)
            return
        table = augment.uniforms(number, self.draws, seed, epoch, "all")
        for picked in picks({"all": number}, size, seed, epoch, sampling):
            yield self._batch_of(split, picked["all"], table[picked["all"]])

    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """Zoomed and mirrored, as the paper does to NYUv2; :meth:`augmented_target` does the same to the targets."""
        return augment_dense.images(images, uniform, self.scales)

    def augmented_target(self, kind: Kind, target: store.Array, uniform: NDArray[np.float32]) -> store.Array:
        """The targets (B, H, W, …) of a kind of task, moved with the images that have the same numbers."""
        if kind == "depth":
            return augment_dense.depth(target, uniform, self.scales)
        if kind == "normals":
            return augment_dense.normals(target, uniform, self.scales)
        return augment_dense.nearest(target, uniform, self.scales)

    def _number(self, split: Split) -> int:
        return min(self.lengths(split)["all"], self.limit or self.lengths(split)["all"])

    def _batch_of(self, split: Split, rows: NDArray[np.int64], uniform: NDArray[np.float32] | None) -> Batch:
        import torch

        images, y = self.arrays[f"all.{split}.images"][rows], {}
        for task in self.tasks:
            target = self.arrays[f"all.{split}.{task.name}"][rows]
            if uniform is not None:
                change = partial(self.augmented_target, task.kind)
                target = np.concatenate(spread(change, target, uniform, self.threads))
            y[task.name] = _as_target(task.kind, target)
        if uniform is not None:
            images = np.concatenate(spread(self.augmented, images, uniform, self.threads))
        x = torch.from_numpy(images).permute(0, 3, 1, 2)
        return Batch(x, None, y, tuple(task.name for task in self.tasks))


def _as_target(kind: Kind, target: store.Array) -> Tensor:
    """Prepared arrays (B, H, W, …) → what ``Batch.y`` holds."""
    import torch

    tensor = torch.from_numpy(target)
    if kind == "segmentation":
        return tensor.long()
    return tensor.float().unsqueeze(1) if kind == "depth" else tensor.float().permute(0, 3, 1, 2).contiguous()
