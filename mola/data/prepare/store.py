"""Prepared arrays: uint8 images and int64 labels as .npy files, memory-mapped, checked against the manifest's
checksums.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from mola.types import BadInput

PIECE = 2**24  # bytes hashed at a time
Array = NDArray[Any]  # uint8 images or int64 labels


def digest(array: Array) -> str:
    """sha256 of an array's type, shape and content."""
    found = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
    rows = max(1, PIECE // max(1, array[:1].nbytes)) if array.ndim else 1
    for start in range(0, len(array) if array.ndim else 1, rows):  # never a copy of the whole
        found.update(np.ascontiguousarray(array[start : start + rows] if array.ndim else array).data)
    return found.hexdigest()


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """One process at a time writes into a folder; what a killed one left unfinished is swept out first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        for unfinished in folder.glob("*.tmp"):
            unfinished.unlink()
        yield


def write(folder: Path, name: str, array: Array) -> None:
    """Write one array by rename: a kill leaves a whole file or none."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{name}.tmp"
    with temporary.open("wb") as file:
        np.save(file, array)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / f"{name}.npy")


def fault(folder: Path, name: str, sha256: str) -> str | None:
    """What is wrong with a prepared array, in one line; None if nothing."""
    path = folder / f"{name}.npy"
    if not path.is_file():
        return f"{path}: expected a prepared array, found none"
    try:
        found = digest(np.load(path, mmap_mode="r"))
    except Exception as error:  # numpy's parser of a damaged header raises much more than ValueError
        reason = str(error).partition("\n")[0] or type(error).__name__
        return f"{path}: expected a readable array, found: {reason}"
    return None if found == sha256 else f"{path}: expected sha256 {sha256}, found {found}"


def open_arrays(folder: Path, arrays: Mapping[str, str], repair: str) -> dict[str, Array]:
    """All arrays of a benchmark, memory-mapped, after checking every byte.

    arrays: name → sha256. repair: what to do, for the error. Raises BadInput for the first array that is
    missing or damaged.
    """
    for name, sha256 in arrays.items():
        if wrong := fault(folder, name, sha256):
            raise BadInput(f"{wrong}; {repair}")
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in arrays}
