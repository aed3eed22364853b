"""Four tasks with label sets of their own at 32×32: letters, fonts, case (rendered) and optdigits; no download.

Source: letters rendered from matplotlib's fonts, and optdigits (UCI, CC BY 4.0; packaged by scikit-learn).

For maintainers, after a change of the recipe: raise ``version``, then run ``python -m mola.benchmarks.glyphs``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mola.benchmarks import METRICS, Images
from mola.benchmarks._packaged import Packaged
from mola.benchmarks._synthetic import digit_images
from mola.benchmarks._synthetic.digit_images import LETTERS
from mola.benchmarks.digits import Digits
from mola.data.batches.augment import shift
from mola.data.splits.manifest import Ids
from mola.seeds import derive
from mola.types import Task

# training images: more for the many classes of letters, fewer of optdigits, where every method would be near 100 %
TRAIN = {"letters": 780, "fonts": 402, "case": 400, "optdigits": 200}
EVALUATION = {"valid": 250, "test": 750}  # of each task, rounded up to whole classes

CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# classes of ``fonts``: told apart by the weight of strokes, by serifs and by slant
FACES = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSerif-Bold.ttf",
    "STIXGeneral.ttf",
    "STIXGeneralBolIta.ttf",
    "cmtt10.ttf",
)
STEMMED = "ABDEFHKMNPRTabdfhkmnpqr"  # letters of ``fonts``: on a stem one sees both weight and serifs
UNLIKE = "ABDEFGHMNQRT"  # letters of ``case``: their small form is not the capital, only smaller
CLASSES = {"letters": len(CAPITALS), "fonts": len(FACES), "case": 2}  # of the rendered tasks


class Glyphs(Packaged):
    """Multi-input task heterogeneity. All pixels come from integer arithmetic, as in ``digits``."""

    name = "glyphs"
    heterogeneity = "multi-input task"
    version = 1
    tasks = tuple(Task(name, "classes", k, METRICS) for name, k in {**CLASSES, "optdigits": 10}.items())
    mean = std = (0.5, 0.5, 0.5)
    sources = tuple(source for source in Digits.sources if source.name in ("optdigits", "fonts"))

    @cached_property
    def _digits(self) -> Digits:
        return Digits.create(self.root)

    def content(self, source: str) -> bytes:
        """Return pixels and labels of optdigits as bytes, or the files of the fonts."""
        return self._digits.content(source)

    def ids(self) -> Ids:
        """Split in equal shares of the classes, optdigits as in ``digits``: nothing tested there is trained on here."""
        handwritten = self._digits.manifest.ids["optdigits"]
        return {
            **{task: _rendered_ids(task) for task in CLASSES},
            "optdigits": {**handwritten, "train": handwritten["train"][: TRAIN["optdigits"]]},
        }

    def build(self, task: str, ids: Sequence[int]) -> Mapping[str, NDArray[Any]]:
        """Return images (N, 32, 32, 3) and labels (N,). ids: seeds of drawings, or positions in ``optdigits``."""
        if task == "optdigits":
            return self._digits.build(task, ids)
        labels = np.array([i % CLASSES[task] for i in ids], dtype=np.int64)
        return {"images": np.stack([_rendered(task, i) for i in ids]), "labels": labels}

    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """Shift by up to 3 pixels. There is no flip: it would turn some letters and digits into other signs."""
        return shift(images, uniform[:, :2], 3)


def _rendered(task: str, identity: int) -> Images:
    """Draw a letter of class ``identity % K``, (32, 32, 3); its other traits are random."""
    rng = np.random.default_rng(derive(0, "glyphs", task, identity))
    label = identity % CLASSES[task]
    font = int(rng.integers(len(digit_images.FONTS)))
    if task == "letters":
        return digit_images.drawn(CAPITALS[label], font, rng, LETTERS)
    if task == "case":
        letter = UNLIKE[rng.integers(len(UNLIKE))]
        return digit_images.drawn((letter, letter.lower())[label], font, rng, LETTERS)
    letter = STEMMED[rng.integers(len(STEMMED))]
    return digit_images.drawn(letter, digit_images.FONTS.index(FACES[label]), rng, LETTERS)


def _rendered_ids(task: str) -> dict[str, list[int]]:
    """Return consecutive ids, and so one of each class and again, so that a prefix holds all classes."""
    splits: dict[str, list[int]] = {}
    start = 0
    for split, about in {"train": TRAIN[task], **EVALUATION}.items():
        size = -(-about // CLASSES[task]) * CLASSES[task]
        splits[split] = list(range(start, start + size))
        start += size
    return splits


if __name__ == "__main__":
    print(Glyphs.create(Path("data")).write_manifest())
