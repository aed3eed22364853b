"""RadImageNet: 1.35 million images of CT, MR and ultrasound; 11 anatomies, 165 findings. Given on request only.

Source: Mei et al., RadImageNet, Radiology: Artificial Intelligence 2022; https://www.radimagenet.com. Anatomies as
tasks and their order: MoLA (Zhou et al., ICML 2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from mola.benchmarks import METRICS, Images
from mola.benchmarks._downloaded import Downloaded
from mola.benchmarks._radimagenet_lists import ANATOMIES, THEIRS, TREE, check_apart, check_there, listed, unlisted
from mola.data.batches.augment_photos import crops, flipped
from mola.data.fetch.download import Download
from mola.data.prepare import images
from mola.data.prepare.prepared import Part
from mola.data.progress import say
from mola.data.splits.rule import interleaved
from mola.types import BadInput, Split, Task

if TYPE_CHECKING:
    from torch import Tensor

LISTS: dict[str, dict[Split, str]] = {  # split → ours → the publisher's; the paper's valid is its test
    "ours": {"train": "train", "valid": "val", "test": "test"},
    "paper": {"train": "train", "test": "test"},
}
SMALLEST = 0.08  # share of the area that a training crop has at least: torchvision's default
LICENCE, TERMS = "RadImageNet's data use agreement", "research only, by whom the agreement names"
REQUEST = (
    "ask at https://www.radimagenet.com (no answer: twdeyer@radimagenet.com); the lists are in the Google Drive folder "
    "1FUir_Y_kbQZWih1TMVf9Sz8Pdk9NF2Ym; put radimagenet.tar.gz, or the folder radiology_ai made from it, and "
    "RadiologyAI_{train,val,test}.csv into one folder"
)


def _asked(name: str, file: str) -> Download:
    return Download(name, "https://www.radimagenet.com", LICENCE, "", file, terms=TERMS, request=REQUEST)


class RadImageNet(Downloaded):
    """Multi-input task heterogeneity: a task is an anatomy under one modality, its classes are the findings there.

    size: pixels of a side of the prepared images. crop: of what a model sees.
    """

    name = "radimagenet"
    heterogeneity = "multi-input task"
    version = 1
    tasks = tuple(Task(name, "classes", classes, METRICS) for name, (_, _, classes) in ANATOMIES.items())
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
    draws = 5
    sources = (
        _asked("radimagenet", "radimagenet.tar.gz"),
        *(_asked(f"radimagenet-{split}", f"RadiologyAI_{split}.csv") for split in THEIRS),
    )

    def __init__(
        self,
        root: Path,
        *,
        size: PositiveInt = 256,
        crop: PositiveInt = 224,
        split: Literal["ours", "paper"] = "ours",
        official: bool = True,
        mirror: str | None = None,
        limit: PositiveInt | None = None,
    ) -> None:
        super().__init__(root, limit=limit, official=official, mirror=mirror, split=split)
        if crop > size:
            raise BadInput(f"radimagenet.crop: expected at most size, {size}, found {crop}")
        self.size, self.crop = size, crop

    @property
    def variant(self) -> tuple[str, ...]:
        """With the images' size."""
        return (*super().variant, str(self.size))

    def place(self, path: Path) -> None:
        """Also a folder with the lists beside, or in, the folder radiology_ai."""
        path, (archive, *lists) = Path(path).resolve(), self.sources
        unpacked = path.parent if path.name == TREE else path  # images are listed relative to it
        by_hand = (unpacked / TREE).is_dir() and not (path / archive.file).is_file()
        if not by_hand or any((path / source.file).is_file() for source in lists):
            super().place(path)
        if by_hand:
            self._place_folder(unpacked)

    def parts(self) -> Mapping[str, Part]:
        """Images and labels of every anatomy and split, one of each finding and again. A label is the rank of the
        finding's name within its anatomy.
        """
        archive, *lists = self.sources
        by_list = {theirs: listed(self.file(source)) for theirs, source in zip(THEIRS, lists, strict=True)}
        findings = {task: sorted({f for found in by_list.values() for f in found[task]}) for task in ANATOMIES}
        for task, (_, _, wanted) in ANATOMIES.items():
            if len(findings[task]) != wanted:
                found = f"{len(findings[task])}: {', '.join(findings[task])}"
                raise BadInput(f"{self.raw}: lists of images: {task}: expected {wanted} findings, found {found}")
        check_apart(by_list)
        root = self.tree(archive)
        if not (root / TREE).is_dir():
            raise BadInput(f"{root}: expected the folder {TREE}, found none")
        for files in by_list.values():
            check_there(root, files)
        if left := unlisted(root, by_list.values()):
            say(f"radimagenet: {len(left)} images that no list names are left out; the first is {left[0]}")
        made = {}
        for task, names in findings.items():
            modality = ANATOMIES[task][0]  # Doppler ultrasound has colours
            for split, theirs in LISTS[self.split].items():
                by_class = [by_list[theirs][task].get(name, []) for name in names]
                if not (items := interleaved(by_class)):
                    raise BadInput(f"{self.file(lists[THEIRS.index(theirs)])}: expected images of {task}, found none")
                key = self.made_from(archive, [file for file, _ in items])
                counts = dict(zip(names, map(len, by_class), strict=True))
                made[f"{task}.{split}"] = images.part(root, items, self.size, key, counts, grey=modality != "US")
        return made

    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """A part of the image at full size, mirrored half of the time."""
        cropped = crops(images, uniform[:, :4], self.crop, SMALLEST)
        flipped(cropped, uniform[:, 4])
        return cropped

    def normalised(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 → (B, 3, crop, crop) float32: of a whole image, its middle."""
        edge = (x.shape[-1] - self.crop) // 2
        return super().normalised(x[..., edge : edge + self.crop, edge : edge + self.crop])
