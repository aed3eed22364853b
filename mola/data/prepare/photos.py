"""Reads the images of any camera, scanner or editor: whatever the kind of file, as it is meant to be looked at.

A rotation in the metadata (EXIF) is applied, what is transparent lies on white, 16 bits a channel become 8 by their
upper half, grey has three equal channels, and of several frames or pages the first counts. Colour profiles are ignored.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mola.data.prepare.images import Pixels, content_of, reason_of, squared
from mola.types import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")  # in any case


def read(path: Path, size: int, sha256: str) -> Pixels:
    """Read a file as (size, size, 3) uint8 of RGB: the square in the middle, resized.

    sha256: of the file as it is known. Raises BadInput where it is another one, or no image.
    """
    content = content_of(path)
    if (actual := hashlib.sha256(content).hexdigest()) != sha256:
        raise BadInput(f"{path}: expected the file that was checked, sha256 {sha256}, found {actual}")
    try:
        return squared(decoded(content), size)
    # Pillow's readers of damaged files raise nearly anything
    except Exception as error:
        raise BadInput(f"{path}: expected an image, found {reason_of(content, error)}") from None


def decoded(content: bytes) -> Image:
    """Return the RGB image that the bytes of a file hold. Raises nearly anything where they hold none."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content)) as image:
        image.load()
        return _rgb(image, ImageOps.exif_transpose(image))


def _rgb(file: Image, image: Image) -> Image:
    from PIL import Image as pillow

    if image.mode == "F" or (image.mode == "I" and file.format not in ("PNG", "PPM")):
        raise ValueError(f"32 bits a channel, mode {image.mode}; 8 or 16 can be read")
    if image.mode.startswith("I"):
        return pillow.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        above = image.convert("RGBA")
        below = pillow.new("RGBA", above.size, "white")
        return pillow.alpha_composite(below, above).convert("RGB")
    return image.convert("RGB")
