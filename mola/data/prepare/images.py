"""Turns image files into rows of a uint8 array: decoded, resized and cropped once, in parallel, in the given order."""

from __future__ import annotations

import hashlib
import io
import os
import re
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mola.data.prepare.prepared import Blocks, Recipe
from mola.types import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".jpg", ".jpeg", ".png")  # in any case
BLOCK = 32  # images that a thread decodes in one go: 5 MB at 224 pixels
Item = tuple[str, int]  # a file, relative to the root; its label


def files(folder: Path) -> list[str]:
    """Return the names of the images in a folder, without hidden files, which some archivers add."""
    return [
        entry.name
        for entry in os.scandir(folder)
        if entry.name.lower().endswith(ENDINGS) and not entry.name.startswith(".") and entry.is_file()
    ]


def recipe(
    root: Path, items: Sequence[Item], size: int, made_from: object, counts: dict[str, int], *, grey: bool = False
) -> Recipe:
    """Return how to make the arrays ``images`` (N, size, size, 3) uint8 and ``labels`` (N,) int64 of some files.

    made_from: what decides over their content besides their names, labels, size and colours. grey: images are
    (N, size, size, 1), the luma where a file has colours.
    """
    labels = np.array([label for _, label in items], dtype=np.int64)

    def blocks(start: int) -> Blocks:
        for images in decoded(root, [file for file, _ in items[start:]], size, grey=grey):
            yield {"images": images, "labels": labels[start : start + len(images)]}
            start += len(images)

    kinds = {"images": ((size, size, 1 if grey else 3), "uint8"), "labels": ((), "int64")}
    key = {"from": made_from, "size": size, "labels": hashlib.sha256(labels.tobytes()).hexdigest()}
    return Recipe(len(items), kinds, key, blocks, [file for file, _ in items], counts)


def decoded(root: Path, files: Sequence[str], size: int, *, grey: bool = False) -> Iterator[NDArray[np.uint8]]:
    """Yield blocks (n, size, size, 3) uint8 of RGB, or (n, size, size, 1) where grey: of each image the square in the
    middle, resized (bicubic, antialiased). Raises BadInput for the first file that is no image.
    """
    # threads: Pillow gives the lock away while it decodes and resizes, so processes would gain nothing over them
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pool = ThreadPoolExecutor(workers, "mola-decoder")
    starts = iter(range(0, len(files), BLOCK))

    def submitted(number: int) -> list[Future[NDArray[np.uint8]]]:
        return [pool.submit(_block, root, files[s : s + BLOCK], size, grey) for s in islice(starts, number)]

    # Pillow warns of odd metadata; around all threads, as they share the filters
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            waiting = deque(submitted(2 * workers))
            while waiting:
                done = waiting.popleft().result()
                waiting.extend(submitted(1))
                yield done
        finally:
            pool.shutdown(cancel_futures=True)


def _block(root: Path, files: Sequence[str], size: int, grey: bool) -> NDArray[np.uint8]:
    return np.stack([read(root / file, size, grey=grey) for file in files])


def read(path: Path, size: int, *, grey: bool = False) -> NDArray[np.uint8]:
    """Read a JPEG or PNG file as (size, size, 3) uint8 of RGB, or (size, size, 1) where grey.

    An EXIF rotation is not applied. Raises BadInput where the file can't be read as an image.
    """
    from PIL import Image

    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: expected an image, found: {error.strerror or error}") from None
    try:
        with Image.open(io.BytesIO(content)) as image:
            side = min(image.size)
            left, top = ((length - side) // 2 for length in image.size)
            fitted = _converted(image, "L" if grey else "RGB").resize(
                (size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side)
            )
    # Pillow's readers of damaged files raise nearly anything
    except Exception as error:
        reason = re.sub(r" <_io\.\S+ object at \w+>", "", " ".join(str(error).split()))[:120]
        actual = f"{len(content)} bytes that can't be read ({reason})" if content else "an empty file"
        raise BadInput(f"{path}: expected an image, found {actual}") from None
    return np.asarray(fitted).reshape(size, size, 1 if grey else 3)


def _converted(image: Image, mode: str) -> Image:
    from PIL import Image as pillow

    # 16 bits a pixel: Pillow's own conversion would cut off, not scale
    if image.mode.startswith("I"):
        return pillow.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert(mode)
    return image.convert(mode)
