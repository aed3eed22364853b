"""NYUv2: segmentation into 13 classes, depth and surface normals of 1449 photographs of rooms, 288×384, downloaded.

Source: Silberman, Hoiem, Kohli & Fergus, Indoor Segmentation and Support Inference from RGBD Images, ECCV 2012, as
preprocessed for MTAN (Liu, Johns & Davison, CVPR 2019, arXiv 1803.10704).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mola.benchmarks import _dense_files
from mola.benchmarks._dense_files import FOLDERS, Samples
from mola.benchmarks._downloaded import Downloaded
from mola.benchmarks._single_input import SingleInput, dense_tasks
from mola.data.fetch.download import Download
from mola.data.prepare.prepared import Blocks, Recipe
from mola.data.splits.rule import divided
from mola.types import Split

CLASSES = 13
SIZE = (288, 384)
BLOCK = 8  # samples that are in memory at once: 20 MB


class NYUv2(SingleInput, Downloaded):
    """The archive has ``{train,val}/{image,label,depth,normal}/{i}.npy``: 795 and 654 samples. The publisher packs it
    anew for every download, so that it has no checksum: number, shape and values of the files are checked.

    Our test split is ``val``, which the field reports, and valid is carved out of ``train``, by image: neighbouring
    images show one room, so valid is easier than test. Normals are brought to unit length.
    """

    name = "nyuv2"
    version = 1
    tasks = dense_tasks(CLASSES)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as the pretrained backbones want them
    sources = (
        Download(
            "nyuv2",
            "https://github.com/lorenmt/mtan",
            "none stated",
            "",
            file="nyuv2.zip",
            mirrors=("https://www.dropbox.com/sh/86nssgwm6hm3vkb/AACrnUQ4GxpdrBbLjb6n-mWNa?dl=1",),
            size=8_400_000_000,
            terms="No licence is stated: for research only, as the original (Silberman et al. 2012).",
        ),
    )

    def recipes(self) -> Mapping[str, Recipe]:
        """Return how the arrays are made. Number and shape of all files are checked here, values when they are read."""
        (source,) = self.sources
        official, tree = self.options.official, self.raw.tree(source)
        folders = _dense_files.parts_in(tree, ("train", "val"))
        counts = {name: self.rule.counts[name] if official else None for name in folders}
        numbers = {name: _dense_files.counted(folder, counts[name]) for name, folder in folders.items()}
        size = SIZE if official else _dense_files.size_of(folders["train"])
        recipes = {}
        for split, (name, indices) in self._splits(numbers).items():
            samples = Samples(folders[name], size, CLASSES)
            samples.check_shapes(indices)
            inside = folders[name].relative_to(tree)
            key = self.made_from(source, [f"{inside}/{folder}/{i}.npy" for i in indices for folder in FOLDERS])
            items = [f"{name}/{i}" for i in indices]
            recipes[f"all.{split}"] = Recipe(len(items), _rows(size), key, _blocks(samples, indices), items)
        return recipes

    def _splits(self, numbers: Mapping[str, int]) -> dict[Split, tuple[str, list[int]]]:
        """Return folder and samples of each split, in an order in which a prefix is like the whole."""
        names = {part: [f"{i}.npy" for i in range(number)] for part, number in numbers.items()}
        train = divided(names["train"], self.rule.percent, "train/")
        test = divided(names["val"], {"train": 0, "valid": 0, "test": 1}, "val/")["test"]
        if self.options.split == "paper":
            return {"train": ("train", _indices(train["train"] + train["valid"])), "test": ("val", _indices(test))}
        return {
            "train": ("train", _indices(train["train"])),
            "valid": ("train", _indices(train["valid"])),
            "test": ("val", _indices(test)),
        }


def _indices(names: Sequence[str]) -> list[int]:
    return [int(name.removesuffix(".npy")) for name in names]


def _rows(size: tuple[int, int]) -> dict[str, tuple[tuple[int, ...], str]]:
    return {
        "images": ((*size, 3), "uint8"),
        "segmentation": (size, "int8"),
        "depth": (size, "float32"),
        "normals": ((*size, 3), "float32"),
    }


def _blocks(samples: Samples, indices: Sequence[int]) -> Callable[[int], Blocks]:
    def blocks(start: int) -> Iterator[dict[str, NDArray[Any]]]:
        for first in range(start, len(indices), BLOCK):
            read = [samples.read(i) for i in indices[first : first + BLOCK]]
            yield {kind: np.stack([sample[kind] for sample in read]) for kind in read[0]}

    return blocks
