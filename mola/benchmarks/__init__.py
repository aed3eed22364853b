"""Benchmarks: sets of tasks with their data. One file each; the file's name is the benchmark's name.

A benchmark says what its tasks are and how raw items become arrays; splits, checks, storage, sampling and batches are
shared.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mola.data import augment, preparation, store
from mola.data.manifest import Ids, Manifest, manifest_path
from mola.data.sampling import Picks, picks
from mola.data.sampling import steps as number_of_steps
from mola.types import BadInput, Batch, Sampling, Source, Split, Task

if TYPE_CHECKING:
    from torch import Tensor

Images = NDArray[np.uint8]  # (N, H, W, 3)
Labels = NDArray[np.int64]  # (N,)
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


class Benchmark(ABC):
    """Base of all benchmarks. Options are keyword-only arguments of the subclass's constructor.

    root:  the data folder; the prepared arrays lie in ``root/<name>``.
    limit: the first n samples of every task and split, for trying things out.
    """

    name: ClassVar[str]
    heterogeneity: ClassVar[Literal["domain", "multi-input task", "single-input task"]]
    tasks: ClassVar[tuple[Task, ...]]
    sources: ClassVar[tuple[Source, ...]]
    version: ClassVar[int]  # of the recipe: raise it when build() gives other arrays
    mean: ClassVar[tuple[float, float, float]]
    std: ClassVar[tuple[float, float, float]]

    def __init__(self, root: Path, *, limit: int | None = None) -> None:
        self.folder, self.limit = Path(root) / self.name, limit

    @abstractmethod
    def content(self, source: str) -> bytes:
        """The raw content of a source, for its checksum. Raises OSError where it is not to be had."""

    @abstractmethod
    def ids(self) -> Ids:
        """The split of the raw items, task → split → ids: asked once, to write the committed manifest."""

    @abstractmethod
    def build(self, task: str, ids: Sequence[int]) -> tuple[Images, Labels]:
        """The prepared arrays of some raw items: (N, H, W, 3) and (N,). Must not depend on anything but the ids."""

    @abstractmethod
    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """A training batch (B, H, W, 3), changed by the numbers (B, 8) in [0, 1) of each sample."""

    def fetch(self) -> None:
        """Check every source against its checksum. Raises BadInput for the first that is missing or another."""
        for source in self.sources:
            try:
                found = hashlib.sha256(self.content(source.name)).hexdigest()
            except (OSError, ImportError, ValueError) as error:
                found = f"none that can be read: {error}".partition("\n")[0]
            if found != source.sha256:
                wanted = f"expected sha256 {source.sha256}, found {found}"
                raise BadInput(
                    f"{self.name}: source '{source.name}' ({source.origin}): {wanted}; see requirements.lock"
                )

    def prepare(self) -> Path:
        """Build what is missing or damaged, and check it against the committed manifest. Costs a checksum where all
        is there.
        """
        preparation.prepare(self.folder, self.manifest, self.build)
        return self.folder

    def write_manifest(self) -> Path:
        """Write the committed manifest anew: for maintainers, after a change of the recipe."""
        ids = self.ids()
        sources = {source.name: source.sha256 for source in self.sources}
        return Manifest(self.name, self.version, sources, ids, preparation.checksums(ids, self.build)).write()

    def sizes(self, split: Split) -> dict[str, int]:
        """Samples of each task in a split, by name, in the tasks' order."""
        whole = {task.name: len(self.manifest.ids[task.name][split]) for task in self.tasks}
        return {name: min(size, self.limit or size) for name, size in whole.items()}

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
        tables = {name: augment.uniforms(number, 8, seed, epoch, name) for name, number in sizes.items()}
        for picked in picks(sizes, size, seed, epoch, sampling):
            yield self._batch(split, picked, tables)

    def _batch(self, split: Split, picked: Picks, tables: dict[str, NDArray[np.float32]] | None) -> Batch:
        import torch

        images, owner, y = [], [], {}
        for index, task in enumerate(self.tasks):
            if (rows := picked.get(task.name)) is None:
                continue
            chosen = self._arrays[f"{task.name}.{split}.images"][rows]
            images.append(chosen if tables is None else self.augmented(chosen, tables[task.name][rows]))
            owner.append(np.full(len(rows), index))
            y[task.name] = torch.from_numpy(self._arrays[f"{task.name}.{split}.labels"][rows])
        names = tuple(task.name for task in self.tasks)
        x = torch.from_numpy(np.concatenate(images)).permute(0, 3, 1, 2)
        return Batch(x, torch.from_numpy(np.concatenate(owner)), y, names)

    def normalised(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 → float32, (x/255 − mean)/std, the same bits on every device."""
        import torch

        # 255 as a tensor on the device: by a number, a GPU would multiply with 1/255
        full, mean, std = (torch.tensor(v, device=x.device).view(-1, 1, 1) for v in ((255.0,), self.mean, self.std))
        return x.to(torch.float32, memory_format=torch.contiguous_format).div_(full).sub_(mean).div_(std)

    @cached_property
    def manifest(self) -> Manifest:
        """The committed manifest. Raises BadInput where it is not of this recipe."""
        manifest = Manifest.read(self.name)
        if manifest.version != self.version:
            wanted = f"expected version {self.version} of the recipe, found {manifest.version}"
            raise BadInput(f"{manifest_path(self.name)}: {wanted}; take both the file and the code from one commit")
        return manifest

    @cached_property
    def _arrays(self) -> dict[str, store.Array]:
        return store.open_arrays(self.folder, self.manifest.arrays, f"mola prepare -b {self.name}")
