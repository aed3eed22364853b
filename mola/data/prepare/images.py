"""Turns image files into rows of a uint8 array: decoded, resized and cropped once, in parallel, in the given order."""

from __future__ import annotations

import hashlib
import io
import os
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from mola.data.prepare.prepared import Blocks, Recipe
from mola.types import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image

T = TypeVar("T")
ENDINGS = (".jpg", ".jpeg", ".png")  # in any case
BLOCK = 32  # images that a thread decodes in one go: 5 MB at 224 pixels
Item = tuple[str, int]  # a file, relative to the root; its label
Pixels = NDArray[np.uint8]
Reader = Callable[[Path], Pixels]  # a file → (size, size, 3), or (size, size, 1) where grey


def files(folder: Path) -> list[str]:
    """Return the names of the images in a folder, without hidden files, which some archivers add."""
    return [
        entry.name
        for entry in os.scandir(folder)
        if entry.name.lower().endswith(ENDINGS) and not entry.name.startswith(".") and entry.is_file()
    ]


def recipe(
    root: Path,
    items: Sequence[Item],
    size: int,
    made_from: object,
    counts: dict[str, int],
    *,
    grey: bool = False,
    reader: Reader | None = None,
) -> Recipe:
    """Return how to make the arrays ``images`` (N, size, size, 3) uint8 and ``labels`` (N,) int64 of some files.

    made_from: what decides over their content besides their names, labels, size and colours. grey: images are
    (N, size, size, 1), the luma where a file has colours. reader: :func:`read` where there is no other.
    """
    labels = np.array([label for _, label in items], dtype=np.int64)

    def blocks(start: int) -> Blocks:
        for images in decoded(root, [file for file, _ in items[start:]], size, grey=grey, reader=reader):
            yield {"images": images, "labels": labels[start : start + len(images)]}
            start += len(images)

    kinds = {"images": ((size, size, 1 if grey else 3), "uint8"), "labels": ((), "int64")}
    key = {"from": made_from, "size": size, "labels": hashlib.sha256(labels.tobytes()).hexdigest()}
    return Recipe(len(items), kinds, key, blocks, [file for file, _ in items], counts)


def decoded(
    root: Path, files: Sequence[str], size: int, *, grey: bool = False, reader: Reader | None = None
) -> Iterator[Pixels]:
    """Yield blocks (n, size, size, 3) uint8 of RGB, or (n, size, size, 1) where grey: of each image the square in the
    middle, resized (bicubic, antialiased). Raises BadInput for the first file that is no image.
    """
    read_one = reader or partial(read, size=size, grey=grey)
    yield from in_threads(lambda block: np.stack([read_one(root / file) for file in block]), files)


def in_threads(work: Callable[[Sequence[str]], T], files: Sequence[str]) -> Iterator[T]:
    """Yield what ``work`` gives for one block of files after another, in order, on all cores."""
    # threads: Pillow gives the lock away while it decodes and resizes, so processes would gain nothing over them
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pool = ThreadPoolExecutor(workers, "mola-decoder")
    starts = iter(range(0, len(files), BLOCK))

    def submitted(number: int) -> list[Future[T]]:
        return [pool.submit(work, files[s : s + BLOCK]) for s in islice(starts, number)]

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


def read(path: Path, size: int, *, grey: bool = False) -> Pixels:
    """Read a JPEG or PNG file as (size, size, 3) uint8 of RGB, or (size, size, 1) where grey.

    An EXIF rotation is not applied. Raises BadInput where the file can't be read as an image.
    """
    from PIL import Image

    content = content_of(path)
    try:
        with Image.open(io.BytesIO(content)) as image:
            return squared(_converted(image, "L" if grey else "RGB"), size)
    # Pillow's readers of damaged files raise nearly anything
    except Exception as error:
        raise BadInput(f"{path}: expected an image, found {reason_of(content, error)}") from None


def content_of(path: Path) -> bytes:
    """Read the bytes of a file. Raises BadInput where that can't be done."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: expected an image, found: {error.strerror or error}") from None


def reason_of(content: bytes, error: Exception) -> str:
    """Say what a file is whose bytes Pillow can't read as an image."""
    reason = re.sub(r" <_io\.\S+ object at \w+>", "", " ".join(str(error).split()))[:120]
    return f"{len(content)} bytes that can't be read ({reason})" if content else "an empty file"


def squared(image: Image, size: int) -> Pixels:
    """Resize the square in the middle of an image, bicubic and antialiased: (size, size, 3), or (size, size, 1)."""
    from PIL import Image as pillow

    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    fitted = image.resize((size, size), pillow.Resampling.BICUBIC, (left, top, left + side, top + side))
    return np.asarray(fitted).reshape(size, size, -1)


def _converted(image: Image, mode: str) -> Image:
    from PIL import Image as pillow

    # 16 bits a pixel: Pillow's own conversion would cut off, not scale
    if image.mode.startswith("I"):
        return pillow.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert(mode)
    return image.convert(mode)
