"""The pixels behind ``glyphs``: one rendered letter, larger, straighter and cleaner than the digits of ``digits``.

With 26 classes and few images of each, the digits' noise and angles would leave every method near chance. All of it is
integer arithmetic.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mola.benchmarks._synthetic.digit_images import FINE, SIDE, font_files

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Pixels = NDArray[np.uint8]


def drawn(text: str, font: int, rng: np.random.Generator) -> Pixels:
    """Draw text in one of the fonts of ``digit_images``, in a random size, place, angle, pair of colours and noise:
    (32, 32, 3).
    """
    from PIL import Image, ImageDraw

    side = FINE * SIDE
    canvas = Image.new("L", (side, side))
    face = _font(font, int(rng.integers(80, 121)))
    x, y = (side // 2 + int(v) for v in rng.integers(-3 * FINE, 3 * FINE + 1, 2))
    ImageDraw.Draw(canvas).text((x, y), text, fill=255, font=face, anchor="mm")
    turned = canvas.rotate(int(rng.integers(-10, 11)), Image.Resampling.NEAREST)
    mask = np.asarray(turned.resize((SIDE, SIDE), Image.Resampling.BOX)).astype(np.int32)[..., None]
    paper, ink = rng.integers(145, 256, 3), rng.integers(0, 111, 3)  # dark on light, of any hue
    strength = int(rng.integers(0, 40))
    noise = rng.integers(-strength, strength + 1, (SIDE, SIDE, 3))
    image: Pixels = np.clip((paper * (255 - mask) + ink * mask) // 255 + noise, 0, 255).astype(np.uint8)
    return image


@cache
def _font(index: int, size: int) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(font_files()[index], size, layout_engine=ImageFont.Layout.BASIC)
