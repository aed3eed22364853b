"""From image files to rows of a uint8 array: decoded, resized and cropped once, in parallel, in the given order."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mola.data.parts import Blocks, Part
from mola.types import BadInput

if TYPE_CHECKING:
    from torch import Tensor

ENDINGS = (".jpg", ".jpeg", ".png")  # in any case
BLOCK = 32  # images that a thread decodes in one go: 5 MB at 224 pixels
Item = tuple[str, int]  # a file, relative to the root; its label


def files(folder: Path) -> list[str]:
    """The names of the images in a folder; hidden ones, which some archivers add, are none."""
    return [
        entry.name
        for entry in os.scandir(folder)
        if entry.name.lower().endswith(ENDINGS) and not entry.name.startswith(".") and entry.is_file()
    ]


def part(
    root: Path, items: Sequence[Item], size: int, made_from: object, counts: dict[str, int], *, grey: bool = False
) -> Part:
    """The arrays ``images`` (N, size, size, 3) uint8 and ``labels`` (N,) int64 of some files. made_from: what decides
    over their content besides their names, labels, size and colours. grey: (N, size, size, 1), of colours their luma.
    """
    labels = np.array([label for _, label in items], dtype=np.int64)

    def blocks(start: int) -> Blocks:
        for images in decoded(root, [file for file, _ in items[start:]], size, grey=grey):
            yield {"images": images, "labels": labels[start : start + len(images)]}
            start += len(images)

    kinds = {"images": ((size, size, 1 if grey else 3), "uint8"), "labels": ((), "int64")}
    key = {"from": made_from, "size": size, "labels": hashlib.sha256(labels.tobytes()).hexdigest()}
    return Part(len(items), kinds, key, blocks, [file for file, _ in items], counts)


def decoded(root: Path, files: Sequence[str], size: int, *, grey: bool = False) -> Iterator[NDArray[np.uint8]]:
    """Blocks of (n, size, size, 3) uint8 RGB, or 1 where grey: the shorter side resized to ``size`` (bicubic,
    antialiased), the middle cropped. Raises BadInput for the first file that is no image.
    """
    import torch

    # threads: torchvision gives the lock away while it decodes and resizes, so processes gain nothing over them
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # else each thread would start as many for its resizing
    pool = ThreadPoolExecutor(workers, "mola-decoder")
    starts = iter(range(0, len(files), BLOCK))
    try:
        waiting = deque(
            pool.submit(_block, root, files[start : start + BLOCK], size, grey) for start in islice(starts, 2 * workers)
        )
        while waiting:
            done = waiting.popleft().result()
            if (start := next(starts, None)) is not None:
                waiting.append(pool.submit(_block, root, files[start : start + BLOCK], size, grey))
            yield done
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)


def _block(root: Path, files: Sequence[str], size: int, grey: bool) -> NDArray[np.uint8]:
    block = np.empty((len(files), size, size, 1 if grey else 3), dtype=np.uint8)
    for row, file in zip(block, files, strict=True):
        image = read(root / file)
        row[:] = fitted(luma(image) if grey else image, size).permute(1, 2, 0).numpy()
    return block


def luma(image: Tensor) -> Tensor:
    """(3, H, W) uint8 → (1, H, W): in whole numbers, so that grey stays what it is."""
    import torch

    red, green, blue = image.to(torch.int32)
    grey: Tensor = ((299 * red + 587 * green + 114 * blue + 500) // 1000).to(torch.uint8)[None]
    return grey


def fitted(image: Tensor, size: int) -> Tensor:
    """(C, H, W) uint8 → (C, size, size): the middle of it, its shorter side resized to ``size``."""
    from torchvision.transforms.v2 import functional
    from torchvision.transforms.v2.functional import InterpolationMode

    resized = functional.resize(image, [size], InterpolationMode.BICUBIC, antialias=True)
    middle: Tensor = functional.center_crop(resized, [size, size])
    return middle


def read(path: Path) -> Tensor:
    """The pixels of a JPEG or PNG file, (3, H, W) uint8 RGB, as they are stored (an EXIF rotation is not applied).

    Raises BadInput where it can't be read as an image.
    """
    import torch
    from torchvision.io import ImageReadMode, decode_image

    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: expected an image, found: {error.strerror or error}") from None
    try:
        image: Tensor = decode_image(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.RGB)
        if image.dtype == torch.uint8 and image.ndim == 3 and image.shape[0] == 3:
            return image
    except (RuntimeError, ValueError):
        pass  # a kind of JPEG or PNG that torchvision is stricter with than everybody's reader, or none at all
    return _read_by_pillow(path, content)


def _read_by_pillow(path: Path, content: bytes) -> Tensor:
    import io
    import warnings

    import torch
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                wide = image.mode.startswith("I")  # 16 bits: its own conversion would cut off, not scale
                pixels = np.asarray(image) >> 8 if wide else np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow's readers of damaged files raise nearly anything
        found = f"{len(content)} bytes that can't be read" if content else "an empty file"
        reason = "" if not content else f" ({' '.join(str(error).split())[:120]})".replace(str(io), "")
        raise BadInput(f"{path}: expected an image, found {found}{reason}") from None
    rgb = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
    return torch.from_numpy(np.ascontiguousarray(rgb, dtype=np.uint8)).permute(2, 0, 1)
