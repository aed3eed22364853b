"""Prepared arrays: uint8 images and int64 labels as .npy files, memory-mapped, checked against the manifest's
checksums.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mola.types import BadInput

Array = NDArray[np.uint8] | NDArray[np.int64]


def digest(array: Array) -> str:
    """sha256 of an array's type, shape and content."""
    head = f"{array.dtype.str} {array.shape} "
    return hashlib.sha256(head.encode() + np.ascontiguousarray(array).tobytes()).hexdigest()


def write(folder: Path, name: str, array: Array) -> None:
    """Write one array by rename: a kill leaves a whole file or none."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{name}.{os.getpid()}.tmp"
    with temporary.open("wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / f"{name}.npy")


def fault(folder: Path, name: str, sha256: str) -> str | None:
    """What is wrong with a prepared array, in a few words; None if nothing."""
    path = folder / f"{name}.npy"
    if not path.is_file():
        return f"{path}: expected a prepared array, found none"
    try:
        found = digest(np.load(path, mmap_mode="r"))
    except (ValueError, OSError, EOFError) as error:
        return f"{path}: expected a readable array, found: {str(error).splitlines()[0]}"
    return None if found == sha256 else f"{path}: expected sha256 {sha256[:16]}…, found {found[:16]}…"


def open_arrays(folder: Path, arrays: Mapping[str, str], repair: str) -> dict[str, Array]:
    """All arrays of a benchmark, memory-mapped, after checking every byte.

    arrays: name → sha256. repair: the command to name in the error. Raises BadInput for the first array that is
            missing or damaged.
    """
    for name, sha256 in arrays.items():
        if wrong := fault(folder, name, sha256):
            raise BadInput(f"{wrong}; run `{repair}`")
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in arrays}
