"""The paper's nine sets of MedMNIST, 65 classes in all: tissue, retina, organs, blood, breast, skin and lungs.

Source: Yang et al., MedMNIST v2, Scientific Data 2023; https://medmnist.com, Zenodo 10519652. Sets and their order:
MoLA (Zhou et al., ICML 2024).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from mola.benchmarks import METRICS, Images
from mola.benchmarks._downloaded import Downloaded
from mola.benchmarks._medmnist_files import OLDER, SETS, published
from mola.data.fetch import download
from mola.data.fetch.download import Download
from mola.data.prepare import npz
from mola.data.prepare.prepared import Blocks, Prepared, Recipe
from mola.types import BadInput, Split, Task

if TYPE_CHECKING:
    from torch import Tensor


class MedMNIST(Downloaded):
    """Multi-input task heterogeneity: every set has classes of its own."""

    class Options(Downloaded.Options):
        size: Literal[28, 64, 128, 224] = Field(28, description="which of the published sizes of images, in pixels")
        resize: PositiveInt | None = Field(
            224, description="pixels of a side of what a model sees, resized on the training device; null: as they are"
        )

    options: Options
    name = "medmnist"
    heterogeneity = "multi-input task"
    version = 1
    tasks = tuple(Task(name, "classes", classes, METRICS) for name, (classes, _, _) in SETS.items())
    mean = std = (0.5, 0.5, 0.5)
    draws = 1
    sources = published(28)

    @property
    def variant(self) -> tuple[str, ...]:
        """Also the size of the images."""
        return (*super().variant, str(self.options.size))

    def published_sources(self) -> tuple[Download, ...]:
        """Return the files of the chosen size and tasks."""
        names = {task.name for task in self.tasks}
        return tuple(source for source in published(self.options.size) if source.name in names)

    def recipes(self) -> dict[str, Recipe]:
        """Return how nine sets of three splits are streamed out of their files."""
        return {
            f"{source.name}.{split}": self._recipe(source, theirs)
            for source in self.sources
            for split, theirs in self._checked(source)
        }

    def group_sizes(self, split: Split) -> dict[str, int]:
        """Return the samples of each set in a split that are used.

        Files are streamed in their publishers' order, so that a small limit may leave one class of a set that has two:
        without an AUC the run would fail in the end. Raises BadInput for such a limit.
        """
        # not self.limit: a run's cost is counted on a copy with fewer images still
        if self.options.limit is not None:
            self._check_limit(self.options.limit)
        return super().group_sizes(split)

    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """Mirror half of the images, left to right."""
        return np.where(uniform[:, :1, None, None] < 0.5, images[:, :, ::-1], images)

    def normalised(self, x: Tensor) -> Tensor:
        """Normalise (B, 3, H, W) uint8 to (B, 3, resize, resize) float32: bilinear, antialiased where it shrinks.

        Other devices enlarge by other kernels, so that the last bits may differ.
        """
        from torch.nn.functional import interpolate

        x, side = super().normalised(x), self.options.resize
        if side is None or side == x.shape[-1]:
            return x
        return interpolate(x, side, mode="bilinear", antialias=x.shape[-1] > side)

    def remarks(self) -> tuple[str, ...]:
        """Return also which sets are of the older version."""
        prepared = Prepared.read(self.folder)
        checksums = prepared.inputs.get("sources", {}) if prepared else {}
        older = [s.name for s in self.sources if s.checksums.get(OLDER, "none") == checksums.get(s.name)]
        remark = (f"data: {', '.join(older)} of MedMNIST {OLDER}, with blank images",) if older else ()
        return (*super().remarks(), *remark)

    def _check_limit(self, limit: int) -> None:
        for measured in ("valid", "test"):
            for name in self.groups:
                labels = self.arrays[f"{name}.{measured}.labels"]
                # 0 where there is one class anyway
                second = int(np.argmax(labels != labels[0]))
                if second >= limit:
                    expected = f"at least {second + 1}, so that {name}.{measured} has two classes"
                    raise BadInput(f"medmnist.limit: expected {expected}, found {limit}")

    def _checked(self, source: Download) -> Iterator[tuple[Split, str]]:
        """Yield our splits of a set and the publisher's names of them, after a check of the heads of its arrays."""
        path, size = self.raw.file(source), self.options.size
        heads = npz.heads(path)
        expected = {f"{theirs}_{kind}" for theirs in ("train", "val", "test") for kind in ("images", "labels")}
        if missing := sorted(expected - set(heads)):
            raise BadInput(f"{path}: expected the arrays {', '.join(missing)}, found {', '.join(heads) or 'none'}")
        row = (size, size) if SETS[source.name][1] == 1 else (size, size, 3)
        official = self.options.official
        counts = self.rule.counts[source.name][download.version(source, self.raw.folder)] if official else None
        for split, theirs in self.published_splits.items():
            (number, *shape), dtype = heads[f"{theirs}_images"]
            if tuple(shape) != row or dtype != np.uint8 or not number:
                _refuse(path, f"{theirs}_images", f"N×{'×'.join(map(str, row))} uint8", heads)
            if heads[f"{theirs}_labels"][0] != (number, 1) or heads[f"{theirs}_labels"][1].kind not in "iu":
                _refuse(path, f"{theirs}_labels", f"{number}×1 integers", heads)
            if counts and number != counts[theirs]:
                raise BadInput(f"{path}: {theirs}_images: expected {counts[theirs]} images, found {number}")
            yield split, theirs

    def _recipe(self, source: Download, theirs: str) -> Recipe:
        path, size, (classes, channels, _) = self.raw.file(source), self.options.size, SETS[source.name]
        labels = np.concatenate(list(npz.rows(path, f"{theirs}_labels")))[:, 0].astype(np.int64)
        if not 0 <= labels.min() <= labels.max() < classes:
            actual = f"{labels.min()} to {labels.max()}"
            raise BadInput(f"{path}: {theirs}_labels: expected 0 to {classes - 1}, found {actual}")

        def blocks(start: int) -> Blocks:
            for images in npz.rows(path, f"{theirs}_images", start):
                yield {
                    "images": images.reshape(len(images), size, size, channels),
                    "labels": labels[start : start + len(images)],
                }
                start += len(images)

        kinds = {"images": ((size, size, channels), "uint8"), "labels": ((), "int64")}
        counts = {str(label): int(number) for label, number in enumerate(np.bincount(labels, minlength=classes))}
        names = [f"{theirs}-{index}" for index in range(len(labels))]
        return Recipe(len(labels), kinds, self.made_from(source), blocks, names, counts)


def _refuse(path: Path, key: str, expected: str, heads: Mapping[str, npz.Head]) -> None:
    shape, dtype = heads[key]
    raise BadInput(f"{path}: {key}: expected {expected}, found {'×'.join(map(str, shape))} {dtype}")
