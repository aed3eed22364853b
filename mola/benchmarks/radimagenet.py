"""RadImageNet: 1.35 million images of CT, MR and ultrasound; 11 anatomies, 165 findings. Given on request only.

Source: Mei et al., RadImageNet, Radiology: Artificial Intelligence 2022; https://www.radimagenet.com. Anatomies as
tasks and their order: MoLA (Zhou et al., ICML 2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from mola.benchmarks import METRICS, Images
from mola.benchmarks._downloaded import Downloaded
from mola.benchmarks._radimagenet_lists import ANATOMIES, THEIRS, TREE, check_apart, check_there, listed
from mola.data.batches.augment_photos import crops, flipped
from mola.data.fetch.download import Download
from mola.data.prepare import images
from mola.data.prepare.prepared import Recipe
from mola.data.splits.rule import interleaved
from mola.terminal import say
from mola.types import BadInput, Task

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST = 0.08  # share of the area that a training crop has at least: torchvision's default
LICENCE, TERMS = "RadImageNet's data use agreement", "research only, by whom the agreement names"
REQUEST = (
    "ask at https://www.radimagenet.com (no answer: twdeyer@radimagenet.com); the lists are in the Google Drive folder "
    "1FUir_Y_kbQZWih1TMVf9Sz8Pdk9NF2Ym; put radimagenet.tar.gz, or the folder radiology_ai made from it, and "
    "RadiologyAI_{train,val,test}.csv into one folder"
)


def _on_request(name: str, file: str) -> Download:
    return Download(name, "https://www.radimagenet.com", LICENCE, "", file, terms=TERMS, request=REQUEST)


class RadImageNet(Downloaded):
    """Multi-input task heterogeneity: a task is an anatomy under one modality, its classes are the findings there."""

    class Options(Downloaded.Options):
        size: PositiveInt = Field(256, description="pixels of a side of the prepared images")
        crop: PositiveInt = Field(224, description="pixels of a side of what a model sees, at most size")

    options: Options
    name = "radimagenet"
    heterogeneity = "multi-input task"
    decoder = "images"
    version = 1
    tasks = tuple(Task(name, "classes", classes, METRICS) for name, (_, _, classes) in ANATOMIES.items())
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
    draws = 5
    sources = (
        _on_request("radimagenet", "radimagenet.tar.gz"),
        *(_on_request(f"radimagenet-{split}", f"RadiologyAI_{split}.csv") for split in THEIRS),
    )

    def __init__(self, root: Path, options: Options) -> None:
        if options.crop > options.size:
            raise BadInput(f"radimagenet.crop: expected at most size, {options.size}, found {options.crop}")
        super().__init__(root, options)

    @property
    def variant(self) -> tuple[str, ...]:
        """Also the size of the images."""
        return (*super().variant, str(self.options.size))

    def place(self, path: Path) -> None:
        """Take also a folder with the lists in, or next to, the folder radiology_ai."""
        path, (archive, *lists) = Path(path).resolve(), self.sources
        # the lists name images relative to it
        unpacked = path.parent if path.name == TREE else path
        by_hand = (unpacked / TREE).is_dir() and not (path / archive.file).is_file()
        if not by_hand or any((path / source.file).is_file() for source in lists):
            super().place(path)
        if by_hand:
            self.raw.place_folder(unpacked, self.recipes)

    def recipes(self) -> Mapping[str, Recipe]:
        """Return how images and labels of every anatomy and split are made, one of each finding and again.

        A label is the rank of the finding's name within its anatomy.
        """
        archive, *lists = self.sources
        by_list = {
            theirs: {task: names for task, names in listed(self.raw.file(source)).items() if task in self.groups}
            for theirs, source in zip(THEIRS, lists, strict=True)
        }
        findings = {task: sorted({name for names in by_list.values() for name in names[task]}) for task in self.groups}
        for task in self.groups:
            if len(findings[task]) != (expected := ANATOMIES[task][2]):
                actual = f"{len(findings[task])}: {', '.join(findings[task])}"
                raise BadInput(
                    f"{self.raw.folder}: lists of images: {task}: expected {expected} findings, found {actual}"
                )
        check_apart(by_list)
        root = self.raw.tree(archive)
        if not (root / TREE).is_dir():
            raise BadInput(f"{root}: expected the folder {TREE}, found none")
        if others := check_there(root, by_list.values()):
            say(f"radimagenet: {len(others)} images that no list names are left out; the first is {others[0]}")
        recipes = {}
        for task, names in findings.items():
            # Doppler ultrasound has colours
            grey = ANATOMIES[task][0] != "US"
            for split, theirs in self.published_splits.items():
                by_class = [by_list[theirs][task].get(name, []) for name in names]
                if not (items := interleaved(by_class)):
                    raise BadInput(
                        f"{self.raw.file(lists[THEIRS.index(theirs)])}: expected images of {task}, found none"
                    )
                key = self.made_from(archive, [file for file, _ in items])
                counts = dict(zip(names, map(len, by_class), strict=True))
                recipes[f"{task}.{split}"] = images.recipe(root, items, self.options.size, key, counts, grey=grey)
        return recipes

    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """Take a random crop of each image and resize it to ``crop`` pixels; mirror half of them."""
        cropped = crops(images, uniform[:, :4], self.options.crop, SMALLEST)
        flipped(cropped, uniform[:, 4])
        return cropped

    def normalised(self, x: Tensor) -> Tensor:
        """Normalise (B, 3, H, W) uint8 to (B, 3, crop, crop) float32: of an image that was not cropped, its middle."""
        crop = self.options.crop
        edge = (x.shape[-1] - crop) // 2
        return super().normalised(x[..., edge : edge + crop, edge : edge + crop])
