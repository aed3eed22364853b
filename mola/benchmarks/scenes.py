"""Synthetic rooms at 48×64: segmentation into 8 classes, depth and surface normals, exact and rendered; no download.

Source: rendered by this project (ray casting of random rooms with furniture); nothing in it was photographed.

For maintainers, after a change of the recipe: raise ``version``, then run ``python -m mola.benchmarks.scenes``.
``python -m mola.benchmarks.scenes --export FOLDER`` writes rooms in the layout and size of NYUv2's files.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mola.benchmarks import SPLITS, Images
from mola.benchmarks._packaged import Packaged
from mola.benchmarks._single_input import SingleInput, dense_tasks
from mola.benchmarks._synthetic.scene_pixels import Arrays, photographed
from mola.benchmarks._synthetic.scene_rooms import CLASSES
from mola.data.batches import augment_dense
from mola.data.prepare import store
from mola.data.splits.manifest import Ids

SIZES = {"train": 240, "valid": 80, "test": 160}
HEIGHT, WIDTH = 48, 64


class Scenes(SingleInput, Packaged):
    """Single-input task heterogeneity. Every number comes from exact arithmetic, so every machine renders the same
    bytes. Nothing is known of some pixels, as of real sensors.
    """

    name = "scenes"
    version = 1
    tasks = dense_tasks(len(CLASSES))
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    scales = (1.0,)  # no zoom: one camera took all rooms, and in a short training it costs more than it gives
    draws = augment_dense.DRAWS + 3
    sources = ()  # drawn from nothing but the ids

    def content(self, source: str) -> bytes:
        """Raise LookupError: there is no source."""
        raise LookupError(source)

    def ids(self) -> Ids:
        """Return consecutive numbers, as every room is drawn for itself."""
        starts = np.cumsum([0, *SIZES.values()]).tolist()
        return {"all": {split: list(range(a, a + SIZES[split])) for split, a in zip(SPLITS, starts, strict=False)}}

    def build(self, task: str, ids: Sequence[int]) -> Mapping[str, store.Array]:
        """Render the images (N, 48, 64, 3) and all targets of some rooms. task: the group, ``all``."""
        samples = [photographed(i, HEIGHT, WIDTH) for i in ids]
        return {kind: np.stack([sample[kind] for sample in samples]) for kind in samples[0]}

    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """Mirror, and change the light."""
        return augment_dense.tinted(super().augmented(images, uniform), uniform[:, augment_dense.DRAWS :], 0.15)


def rooms(numbers: Mapping[str, int], height: int = 288, width: int = 384) -> Iterator[tuple[str, int, Arrays]]:
    """Render rooms as MTAN's NYUv2 has its files: folder, number, and float32 "image" (H, W, 3) in [0, 1], "label"
    (H, W), "depth" (H, W, 1) and "normal" (H, W, 3). numbers: rooms of each folder.
    """
    places = [(folder, i) for folder, number in numbers.items() for i in range(number)]
    for identity, (folder, i) in enumerate(places):
        arrays = photographed(identity, height, width)
        image = arrays["images"].astype(np.float32) / np.float32(255)
        label = arrays["segmentation"].astype(np.float32)
        yield (
            folder,
            i,
            {"image": image, "label": label, "depth": arrays["depth"][..., None], "normal": arrays["normals"]},
        )


def export(folder: Path, numbers: Mapping[str, int], height: int = 288, width: int = 384) -> None:
    """Write rooms in NYUv2's layout: ``{train,val}/{image,label,depth,normal}/{i}.npy``."""
    for part, i, arrays in rooms(numbers, height, width):
        for kind, array in arrays.items():
            (folder / part / kind).mkdir(parents=True, exist_ok=True)
            np.save(folder / part / kind / f"{i}.npy", array)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="write the split manifest, or rooms in NYUv2's layout")
    parser.add_argument("--export", type=Path, metavar="FOLDER")
    target = parser.parse_args().export
    if target is None:
        print(Scenes.create(Path("data")).write_manifest())
    else:
        export(target, {"train": SIZES["train"], "val": SIZES["test"]})
        print(target)
