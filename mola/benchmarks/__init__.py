"""Benchmarks: sets of tasks with their data. One file each; the file's name is the benchmark's name.

A benchmark says what its tasks are, where its arrays come from and how a training batch is augmented; sampling and
batches are shared. Where arrays come from: ``_packaged`` (installed packages, or drawn) or ``_downloaded``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mola import metrics
from mola.data.batches import augment
from mola.data.batches.sampling import Picks, picks
from mola.data.batches.sampling import steps as number_of_steps
from mola.data.batches.threads import spread
from mola.data.prepare import store
from mola.types import BadInput, Batch, Sampling, Source, Split, Task

if TYPE_CHECKING:
    from torch import Tensor

Images = NDArray[np.uint8]  # (N, H, W, 3)
Labels = NDArray[np.int64]  # (N,)
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
METRICS = metrics.names("classes")  # of classes


class Benchmark(ABC):
    """Base of all benchmarks. Options are keyword-only arguments of the subclass's constructor.

    root:  the data folder.
    limit: the first n samples of every task and split, for trying things out.
    """

    name: ClassVar[str]
    heterogeneity: ClassVar[Literal["domain", "multi-input task", "single-input task"]]
    tasks: tuple[Task, ...]
    sources: tuple[Source, ...]
    version: ClassVar[int]  # of the recipe: raise it when the prepared arrays come out differently
    mean: ClassVar[tuple[float, float, float]]
    std: ClassVar[tuple[float, float, float]]
    held_out: bool = True  # whether the epoch is selected on images that no table reports
    draws: ClassVar[int] = 8  # numbers in [0, 1) that the augmentation of one sample takes
    threads: int = 1  # that augment a batch; its values do not depend on it

    def __init__(self, root: Path, *, limit: int | None = None) -> None:
        self.root, self.limit = Path(root), limit

    @abstractmethod
    def fetch(self) -> None:
        """Bring the raw data and check it. Raises BadInput for what is missing or another."""

    def place(self, path: Path) -> None:
        """Take the raw data that the user has, a file or a folder, after the same checks. Raises BadInput."""
        raise BadInput(f"{path}: expected no file for '{self.name}', whose data comes in installed packages")

    @abstractmethod
    def prepare(self) -> Path:
        """Write the prepared arrays once and return their folder. Costs next to nothing where all is there."""

    @property
    def groups(self) -> tuple[str, ...]:
        """What samples are stored by: the tasks' names, as each task has samples of its own."""
        return tuple(task.name for task in self.tasks)

    @property
    @abstractmethod
    def arrays(self) -> Mapping[str, store.Array]:
        """The prepared arrays, memory-mapped: ``<group>.<split>.images`` (N, H, W, 3) uint8, of a task whose
        images are all grey also (N, H, W, 1), and ``….labels`` (N,). Raises BadInput where they are not there.
        """

    @property
    @abstractmethod
    def identity(self) -> str:
        """sha256 over the checksums of all prepared arrays."""

    @abstractmethod
    def lengths(self, split: Split) -> dict[str, int]:
        """Samples of each group in a split, by name, in the groups' order, without the limit."""

    @abstractmethod
    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """Training images (B, H, W, 3), or 1 where they are stored so, changed by the numbers (B, draws) in [0, 1) of
        each sample.
        """

    def remarks(self) -> tuple[str, ...]:
        """What a reader of its tables must know, a line each; tables print them as notes."""
        return ()

    def sizes(self, split: Split) -> dict[str, int]:
        """Samples of each task in a split, by name, in the tasks' order."""
        return {name: min(size, self.limit or size) for name, size in self.lengths(split).items()}

    def steps(self, *, size: int, sampling: Sampling = "balanced") -> int:
        """The number of training batches of an epoch."""
        return number_of_steps(self.sizes("train"), size, sampling)

    def batches(
        self, split: Split, *, size: int, seed: int, epoch: int, sampling: Sampling = "balanced"
    ) -> Iterator[Batch]:
        """The uint8 batches of one pass, samples ordered by task. train: shuffled and augmented; else every sample
        once, in order.
        """
        sizes = self.sizes(split)
        if split != "train":
            for name, number in sizes.items():
                for start in range(0, number, size):
                    yield self._batch(split, {name: np.arange(start, min(start + size, number))}, None)
            return
        tables = {name: augment.uniforms(number, self.draws, seed, epoch, name) for name, number in sizes.items()}
        for picked in picks(sizes, size, seed, epoch, sampling):
            yield self._batch(split, picked, tables)

    def _batch(self, split: Split, picked: Picks, tables: dict[str, NDArray[np.float32]] | None) -> Batch:
        import torch

        images, owner, y = [], [], {}
        for index, task in enumerate(self.tasks):
            if (rows := picked.get(task.name)) is None:
                continue
            chosen = self.arrays[f"{task.name}.{split}.images"][rows]
            parts = [chosen]
            if tables is not None:
                parts = spread(self.augmented, chosen, tables[task.name][rows], self.threads)
            images += [np.broadcast_to(part, (*part.shape[:3], 3)) for part in parts]
            owner.append(np.full(len(rows), index))
            y[task.name] = torch.from_numpy(self.arrays[f"{task.name}.{split}.labels"][rows])
        names = tuple(task.name for task in self.tasks)
        x = torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2)
        return Batch(x, torch.from_numpy(np.concatenate(owner)), y, names)

    def normalised(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 → float32, (x/255 − mean)/std, the same bits on every device."""
        import torch

        # 255 as a tensor on the device: by a number, a GPU would multiply with 1/255
        full, mean, std = (torch.tensor(v, device=x.device).view(-1, 1, 1) for v in ((255.0,), self.mean, self.std))
        return x.to(torch.float32, memory_format=torch.contiguous_format).div_(full).sub_(mean).div_(std)
