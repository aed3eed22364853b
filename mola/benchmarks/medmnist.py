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
from pydantic import PositiveInt

from mola.benchmarks import METRICS, Images
from mola.benchmarks._downloaded import Downloaded
from mola.benchmarks._medmnist_files import OLDER, published
from mola.data.fetch import download
from mola.data.fetch.download import Download
from mola.data.prepare import npz
from mola.data.prepare.prepared import Blocks, Part, Prepared
from mola.types import BadInput, Split, Task

if TYPE_CHECKING:
    from torch import Tensor

SETS = {  # classes and channels, in the paper's order
    "pathmnist": (9, 3),
    "octmnist": (4, 1),
    "organcmnist": (11, 1),
    "bloodmnist": (8, 3),
    "breastmnist": (2, 1),
    "dermamnist": (7, 3),
    "organamnist": (11, 1),
    "organsmnist": (11, 1),
    "pneumoniamnist": (2, 1),
}
PARTS: dict[str, dict[Split, str]] = {  # split → ours → the publisher's; the paper's valid is its test
    "ours": {"train": "train", "valid": "val", "test": "test"},
    "paper": {"train": "train", "test": "test"},
}


class MedMNIST(Downloaded):
    """Multi-input task heterogeneity: every set has a label set of its own.

    size:   which of the published image sizes: 28, 64, 128 or 224 pixels.
    resize: pixels of a side of what a model sees, enlarged on the training device; null: as they are.
    """

    name = "medmnist"
    heterogeneity = "multi-input task"
    version = 1
    tasks = tuple(Task(name, "classes", classes, METRICS) for name, (classes, _) in SETS.items())
    mean = std = (0.5, 0.5, 0.5)
    draws = 1
    sources = published(28)

    def __init__(
        self,
        root: Path,
        *,
        size: Literal[28, 64, 128, 224] = 28,
        resize: PositiveInt | None = 224,
        split: Literal["ours", "paper"] = "ours",
        official: bool = True,
        mirror: str | None = None,
        limit: PositiveInt | None = None,
    ) -> None:
        super().__init__(root, limit=limit, official=official, mirror=mirror, split=split, published=published(size))
        self.size, self.resize = size, resize
        self.asked = limit  # by the user; a run's cost is counted on a copy with fewer images still

    @property
    def variant(self) -> tuple[str, ...]:
        """With the images' size."""
        return (*super().variant, str(self.size))

    def parts(self) -> dict[str, Part]:
        """Nine sets, three splits each, streamed out of their files."""
        return {
            f"{source.name}.{split}": self._part(source, theirs)
            for source in self.sources
            for split, theirs in self._checked(source)
        }

    def sizes(self, split: Split) -> dict[str, int]:
        """Samples of each set in a split. Files are streamed in their publishers' order, so a small limit may leave one
        class of a set that has two: without an AUC the run would fail in the end. Raises BadInput for such a limit.
        """
        if self.asked is not None:
            self._check_limit(self.asked)
        return super().sizes(split)

    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """Mirrored, left to right, half of the time."""
        return np.where(uniform[:, :1, None, None] < 0.5, images[:, :, ::-1], images)

    def normalised(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 → (B, 3, resize, resize) float32: bilinear, antialiased where it gets smaller. Enlarged
        by other kernels on other devices, so the last bits may differ.
        """
        from torch.nn.functional import interpolate

        x = super().normalised(x)
        if self.resize in (None, x.shape[-1]):
            return x
        return interpolate(x, self.resize, mode="bilinear", antialias=x.shape[-1] > self.resize)  # type: ignore[operator]

    def remarks(self) -> tuple[str, ...]:
        """Also, which sets are of the older version."""
        prepared = Prepared.read(self.folder)
        found = prepared.told.get("sources", {}) if prepared else {}
        older = [s.name for s in self.sources if s.checksums.get(OLDER, "none") == found.get(s.name)]
        told = (f"data: {', '.join(older)} of MedMNIST {OLDER}, with blank images",) if older else ()
        return (*super().remarks(), *told)

    def _check_limit(self, limit: int) -> None:
        for measured in ("valid", "test"):
            for name in self.groups:
                labels = self.arrays[f"{name}.{measured}.labels"]
                second = int(np.argmax(labels != labels[0]))  # 0 where there is one class anyway
                if second >= limit:
                    told = f"at least {second + 1}, so that {name}.{measured} has two classes"
                    raise BadInput(f"medmnist.limit: expected {told}, found {limit}")

    def _checked(self, source: Download) -> Iterator[tuple[Split, str]]:
        """The splits of a set, after a look at the heads of its arrays."""
        path, heads = self.file(source), npz.heads(self.file(source))
        wanted = {f"{part}_{kind}" for part in ("train", "val", "test") for kind in ("images", "labels")}
        if missing := sorted(wanted - set(heads)):
            raise BadInput(f"{path}: expected the arrays {', '.join(missing)}, found {', '.join(heads) or 'none'}")
        row = (self.size, self.size) if SETS[source.name][1] == 1 else (self.size, self.size, 3)
        counts = self.rule.counts[source.name][download.version(source, self.raw)] if self.official else None
        for split, theirs in PARTS[self.split].items():
            (number, *found), dtype = heads[f"{theirs}_images"]
            if tuple(found) != row or dtype != np.uint8 or not number:
                _refuse(path, f"{theirs}_images", f"N×{'×'.join(map(str, row))} uint8", heads)
            if heads[f"{theirs}_labels"][0] != (number, 1) or heads[f"{theirs}_labels"][1].kind not in "iu":
                _refuse(path, f"{theirs}_labels", f"{number}×1 integers", heads)
            if counts and number != counts[theirs]:
                raise BadInput(f"{path}: {theirs}_images: expected {counts[theirs]} images, found {number}")
            yield split, theirs

    def _part(self, source: Download, theirs: str) -> Part:
        path, (classes, channels) = self.file(source), SETS[source.name]
        labels = np.concatenate(list(npz.rows(path, f"{theirs}_labels")))[:, 0].astype(np.int64)
        if not 0 <= labels.min() <= labels.max() < classes:
            found = f"{labels.min()} to {labels.max()}"
            raise BadInput(f"{path}: {theirs}_labels: expected 0 to {classes - 1}, found {found}")

        def blocks(start: int) -> Blocks:
            for images in npz.rows(path, f"{theirs}_images", start):
                shaped = images.reshape(len(images), self.size, self.size, channels)
                yield {"images": shaped, "labels": labels[start : start + len(images)]}
                start += len(images)

        kinds = {"images": ((self.size, self.size, channels), "uint8"), "labels": ((), "int64")}
        counts = {str(label): int(number) for label, number in enumerate(np.bincount(labels, minlength=classes))}
        names = [f"{theirs}-{index}" for index in range(len(labels))]
        return Part(len(labels), kinds, self.made_from(source), blocks, names, counts)


def _refuse(path: Path, key: str, wanted: str, heads: Mapping[str, npz.Head]) -> None:
    shape, dtype = heads[key]
    raise BadInput(f"{path}: {key}: expected {wanted}, found {'×'.join(map(str, shape))} {dtype}")
