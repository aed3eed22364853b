"""Benchmarks: sets of tasks with their data. One file each; the file's name is the benchmark's name.

A benchmark says what its tasks are, where its arrays come from and how a training batch is augmented; sampling and
batches are shared. Arrays come from installed packages or are drawn (``_packaged``), or they are downloaded
(``_downloaded``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from mola import metrics
from mola.data.batches import augment
from mola.data.batches.sampling import Picks, picks
from mola.data.batches.sampling import steps as number_of_steps
from mola.data.batches.threads import spread
from mola.data.prepare import store
from mola.data.splits.manifest import manifest_sha256
from mola.options import Configurable
from mola.options import Options as BaseOptions
from mola.registry import did_you_mean
from mola.types import BadInput, Batch, Sampling, Source, Split, Task

if TYPE_CHECKING:
    from torch import Tensor

Images = NDArray[np.uint8]  # (N, H, W, 3)
Labels = NDArray[np.int64]  # (N,)
Uniform = Mapping[str, NDArray[np.float32]]  # group → (B, draws) in [0, 1)
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
METRICS = metrics.names("classes")  # of classes


class Benchmark(Configurable, ABC):
    """Base of all benchmarks. root: the data folder."""

    class Options(BaseOptions):
        limit: PositiveInt | None = Field(
            None, description="the first n samples of every task and split, for trying things out"
        )
        train: PositiveInt | None = Field(
            None,
            description="the first n training samples of every task; valid and test keep theirs, so that amounts of "
            "training data are compared on the same images",
        )
        tasks: list[str] | None = Field(
            None, description="names of some of its tasks, in the order that they are to have; null: all"
        )

    name: ClassVar[str]
    heterogeneity: Literal["domain", "multi-input task", "single-input task"]
    tasks: tuple[Task, ...]
    sources: tuple[Source, ...]
    version: ClassVar[int]  # of the recipe: raise it when the prepared arrays come out differently
    mean: ClassVar[tuple[float, float, float]]
    std: ClassVar[tuple[float, float, float]]
    divides_by_itself: ClassVar[bool] = False  # whether it splits the user's images: nobody has published how
    # how a file becomes pixels: as mola.data.prepare.photos reads it, or as mola.data.prepare.images does
    decoder: ClassVar[Literal["photos", "images"]] = "photos"
    held_out: bool = True  # whether the epoch is selected on images that no table reports
    draws: ClassVar[int] = 8  # numbers in [0, 1) that the augmentation of one sample takes
    threads: int = 1  # that augment a batch; its values do not depend on it
    options: Options

    def __init__(self, root: Path, options: Options) -> None:
        self.root, self.options, self.limit = Path(root), options, options.limit
        if options.tasks is not None:
            self.tasks = chosen_tasks(self.name, self.tasks, options.tasks)

    @abstractmethod
    def fetch(self) -> None:
        """Download the raw data, or look for it, and check it. Raises BadInput for what is missing or other data."""

    def check_raw(self) -> None:
        """Raise BadInput where raw data that lies with the user has changed since its splits were fixed, as far as that
        can be said at once.
        """

    def verified(self) -> str:
        """Say what ``fetch`` has checked."""
        return f"{len(self.sources)} {'sources' if len(self.sources) > 1 else 'source'} verified"

    def renew_splits(self) -> None:
        """Forget how the user's raw data was split; ``prepare`` then splits it anew. Raises BadInput for other data."""
        raise BadInput(f"--renew-split: expected images of the user, found '{self.name}', whose splits are published")

    def place(self, path: Path) -> None:
        """Take the raw data that the user has, a file or a folder, after the checks of ``fetch``. Raises BadInput."""
        raise BadInput(f"{path}: expected no file for '{self.name}', whose data comes in installed packages")

    @abstractmethod
    def prepare(self) -> Path:
        """Write the prepared arrays once and return their folder. Costs next to nothing where they are there."""

    @property
    def splits_sha256(self) -> str:
        """A checksum of what fixes the splits, which is part of every run's fingerprint; "" where nothing does yet."""
        return manifest_sha256(self.name)

    @property
    def groups(self) -> tuple[str, ...]:
        """The names under which samples are stored: those of the tasks, as each task has samples of its own."""
        return tuple(task.name for task in self.tasks)

    @property
    @abstractmethod
    def arrays(self) -> Mapping[str, store.Array]:
        """The prepared arrays, memory-mapped: ``<group>.<split>.images`` (N, H, W, 3) uint8, or (N, H, W, 1) for a task
        whose images are all grey, and ``….labels`` (N,). Raises BadInput where they are not there.
        """

    @property
    @abstractmethod
    def identity(self) -> str:
        """sha256 over the checksums of all prepared arrays. Raises BadInput where they are not known."""

    @abstractmethod
    def lengths(self, split: Split) -> dict[str, int]:
        """Return the samples of each group in a split, by name, in the groups' order, without the limit."""

    @abstractmethod
    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """Augment training images (B, H, W, 3), or (B, H, W, 1) where they are stored so.

        uniform: (B, draws) in [0, 1); row i decides over image i.
        """

    def class_names(self, task: str) -> tuple[str, ...]:
        """Return what the outputs of a task are called: classes, or labels; numbers where nothing names them."""
        return tuple(map(str, range(next(each.outputs for each in self.tasks if each.name == task))))

    def remarks(self) -> tuple[str, ...]:
        """Return what a reader of its tables must know, a line each; tables print them as notes."""
        return ()

    def group_sizes(self, split: Split) -> dict[str, int]:
        """Return the samples of each group in a split that are used: at most ``limit``, and of training ``train``."""
        most = self.options.train if split == "train" else None
        return {name: min(size, self.limit or size, most or size) for name, size in self.lengths(split).items()}

    def sizes(self, split: Split) -> dict[str, int]:
        """Return the samples of each task in a split, by name, in the tasks' order."""
        return self.group_sizes(split)

    def steps(self, *, size: int, sampling: Sampling = "balanced") -> int:
        """Return the number of training batches of an epoch."""
        return number_of_steps(self.group_sizes("train"), size, sampling)

    def batches(
        self, split: Split, *, size: int, seed: int, epoch: int, sampling: Sampling = "balanced", start: int = 0
    ) -> Iterator[Batch]:
        """Yield the uint8 batches of one pass, samples ordered by task.

        Training samples are shuffled and augmented; of other splits every sample comes once, in order.

        start: the first batch, which is the same whatever comes before it.
        """
        tables = self.numbers(seed, epoch) if split == "train" else None
        order = self.order(split, size=size, seed=seed, epoch=epoch, sampling=sampling)
        for picked in islice(order, start, None):
            uniform = tables and {name: tables[name][rows] for name, rows in picked.items()}
            yield self.batch(split, picked, uniform)

    def order(self, split: Split, *, size: int, seed: int, epoch: int, sampling: Sampling) -> Iterator[Picks]:
        """Yield which samples of each group are the batches of one pass."""
        sizes = self.group_sizes(split)
        if split == "train":
            yield from picks(sizes, size, seed, epoch, sampling)
            return
        for name, number in sizes.items():
            for start in range(0, number, size):
                yield {name: np.arange(start, min(start + size, number))}

    def numbers(self, seed: int, epoch: int) -> Uniform:
        """Draw what the augmentation of an epoch takes: (N, draws) in [0, 1) for the N training samples of a group."""
        sizes = self.group_sizes("train")
        return {name: augment.uniforms(number, self.draws, seed, epoch, name) for name, number in sizes.items()}

    def batch(self, split: Split, picked: Picks, uniform: Uniform | None) -> Batch:
        """Return the picked samples of each group, augmented where there are ``uniform`` numbers for them."""
        import torch

        images = []
        for task in self.tasks:
            if (rows := picked.get(task.name)) is None:
                continue
            stored = self.arrays[f"{task.name}.{split}.images"][rows]
            blocks = [stored]
            if uniform is not None:
                blocks = spread(self.augmented, stored, uniform[task.name], self.threads)
            images += [np.broadcast_to(block, (*block.shape[:3], 3)) for block in blocks]
        return self.labelled(split, picked, torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2))

    def labelled(self, split: Split, picked: Picks, x: Tensor) -> Batch:
        """Return the batch of the picked samples, ordered by task, whose images or features ``x`` (B, …) has."""
        import torch

        names = tuple(task.name for task in self.tasks)
        rows = {name: picked[name] for name in names if name in picked}
        owner = np.repeat([names.index(name) for name in rows], [len(chosen) for chosen in rows.values()])
        y = {name: torch.from_numpy(self.arrays[f"{name}.{split}.labels"][chosen]) for name, chosen in rows.items()}
        return Batch(x, torch.from_numpy(owner), y, names)

    def normalised(self, x: Tensor) -> Tensor:
        """Normalise (B, 3, H, W) uint8 to float32, (x/255 − mean)/std, with the same bits on every device."""
        import torch

        # 255 as a tensor on the device: by a number, a GPU would multiply with 1/255
        full, mean, std = (torch.tensor(v, device=x.device).view(-1, 1, 1) for v in ((255.0,), self.mean, self.std))
        return x.to(torch.float32, memory_format=torch.contiguous_format).div_(full).sub_(mean).div_(std)


def chosen_tasks(benchmark: str, tasks: Sequence[Task], names: Sequence[str]) -> tuple[Task, ...]:
    """Return the named tasks of a benchmark, in the order of the names. Raises BadInput for an unknown or repeated
    name, and where there is none.
    """
    known = {task.name: task for task in tasks}
    if not names:
        raise BadInput(f"{benchmark}.tasks: expected names of tasks or null, found an empty list")
    for position, name in enumerate(names):
        if name not in known:
            raise BadInput(
                f"{benchmark}.tasks: '{name}' is no task of it{did_you_mean(name, known)}; it has {', '.join(known)}"
            )
        if name in names[:position]:
            raise BadInput(f"{benchmark}.tasks: expected every task once, found '{name}' twice")
    return tuple(known[name] for name in names)
