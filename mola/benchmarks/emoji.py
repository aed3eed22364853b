"""Four styles of 1,586 emoji at 32×32, twemoji, noto, fluent_flat and fluent_contrast; no download.

The label is the emoji's group in Unicode, eight classes without flags.

Source: Twemoji (CC BY 4.0), Noto Emoji (Apache License 2.0), Fluent Emoji flat and high contrast (MIT), as packaged by
Iconify.

``tools/make_emoji.py`` renders them, splits them and writes ``_images/emoji.npz``, which is part of this package. It
holds an array for each style, (N, 32, 32, 3) or (N, 32, 32, 1) uint8, and ``label``, ``split`` (0 train, 1 valid,
2 test), ``code``, ``name`` and ``family``, (N,).

For maintainers, after a change of the recipe: raise ``version``, then run ``python -m mola.benchmarks.emoji``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mola.benchmarks import METRICS, SPLITS, Images
from mola.benchmarks._packaged import Packaged
from mola.data.batches.augment import shift
from mola.data.splits.manifest import Ids
from mola.data.splits.rule import interleaved, ranked
from mola.types import BadInput, Source, Task

FILE = Path(__file__).parent / "_images" / "emoji.npz"
STYLES = ("twemoji", "noto", "fluent_flat", "fluent_contrast")
CLASSES = (
    "Activities",
    "Animals & Nature",
    "Food & Drink",
    "Objects",
    "People & Body",
    "Smileys & Emotion",
    "Symbols",
    "Travel & Places",
)
REACH = 3  # pixels by which a training image is shifted at most


class Emoji(Packaged):
    """Domain heterogeneity: every emoji in every style, with one split for all styles.

    Emoji of one family, such as a cook of any gender, hearts of any colour and whatever looks alike in some style, are
    in one split. So no test emoji is trained on in another style, nor a variant of it.

    Classes are unequal: 22 % are People & Body, 5 % Activities. Within a split classes take turns, in the same order in
    all styles: the first n training samples are the same emoji in each of them.
    """

    name = "emoji"
    heterogeneity = "domain"
    version = 1
    tasks = tuple(Task(style, "classes", len(CLASSES), METRICS) for style in STYLES)
    mean = std = (0.5, 0.5, 0.5)
    draws = 3
    sources = (
        Source(
            "twemoji",
            "npm: @iconify-json/twemoji 1.2.5",
            "CC BY 4.0",
            "9d0b4ac89c643c88c142bc7ca24371b181da3bcc48906ebcf0454c0270834ca7",
        ),
        Source(
            "noto",
            "npm: @iconify-json/noto 1.2.9",
            "Apache-2.0",
            "60b42a185e181ff42c13b4352b4c044ad87bd293b09a98bf6b89bb749ea8f282",
        ),
        Source(
            "fluent_flat",
            "npm: @iconify-json/fluent-emoji-flat 1.2.6",
            "MIT",
            "816d359e019c291f1a69059d1e9086523051c89280b16d79da4bae393cea9f22",
        ),
        Source(
            "fluent_contrast",
            "npm: @iconify-json/fluent-emoji-high-contrast 1.2.6",
            "MIT",
            "309b230f04c830de5865770976952c36f42484f07233c955f2f497c896e209e6",
        ),
    )

    def class_names(self, task: str) -> tuple[str, ...]:
        """Return Unicode's names of the groups."""
        return CLASSES

    def content(self, source: str) -> bytes:
        """Return the pixels of a style and the labels as bytes. Raises BadInput where the file can't be read."""
        return shipped(source).tobytes() + shipped("label").tobytes()

    def ids(self) -> Ids:
        """Return positions in the file: of each split of the file one of each class and again, as long as there are
        some, each class in the order of the sha256 of its emoji's code points.
        """
        codes, labels, part = shipped("code"), shipped("label"), shipped("split")
        position = {code: i for i, code in enumerate(codes.tolist())}
        splits: dict[str, list[int]] = {}
        for number, split in enumerate(SPLITS):
            by_class = [ranked(codes[(labels == k) & (part == number)].tolist()) for k in range(len(CLASSES))]
            splits[split] = [position[code] for code, _ in interleaved(by_class)]
        return {task.name: splits for task in self.tasks}

    def build(self, task: str, ids: Sequence[int]) -> Mapping[str, NDArray[Any]]:
        """Return images (N, 32, 32, 3) and labels (N,). ids: positions in the file."""
        images = shipped(task)[ids]
        return {
            "images": np.broadcast_to(images, (*images.shape[:3], 3)),
            "labels": shipped("label")[ids].astype(np.int64),
        }

    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """Shift by up to 3 pixels, on white, and mirror every other one: its group stays the same."""
        margin = ((0, 0), (REACH, REACH), (REACH, REACH), (0, 0))
        framed = np.pad(images, margin, constant_values=255)
        moved = shift(framed, uniform[:, :2], REACH)[:, REACH:-REACH, REACH:-REACH]
        mirrored = uniform[:, 2, None, None, None] < 0.5
        return np.where(mirrored, moved[:, :, ::-1], moved)


@cache
def shipped(name: str) -> NDArray[Any]:
    """Read an array of the file that this package ships. Raises BadInput where the file is missing or damaged."""
    try:
        with np.load(FILE) as arrays:
            array: NDArray[Any] = arrays[name]
    # a damaged archive raises errors of zipfile, lzma and numpy's parser
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise BadInput(f"{FILE}: expected the file that mola ships, found: {reason}; install mola again") from None
    # it is shared by all callers
    array.flags.writeable = False
    return array


if __name__ == "__main__":
    print(Emoji.create(Path("data")).write_manifest())
