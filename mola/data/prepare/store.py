"""Prepared arrays as .npy files, memory-mapped, and checked against the checksums of a manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from mola import files
from mola.types import BadInput

PIECE = 2**24  # bytes hashed at a time
Array = NDArray[Any]  # uint8 images or int64 labels


def digest(array: Array) -> str:
    """Return the sha256 of an array's type, shape and content."""
    checksum = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
    rows = max(1, PIECE // max(1, array[:1].nbytes)) if array.ndim else 1
    # in pieces: a copy of the whole might not fit into memory
    for start in range(0, len(array) if array.ndim else 1, rows):
        checksum.update(np.ascontiguousarray(array[start : start + rows] if array.ndim else array).data)
    return checksum.hexdigest()


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Let one process at a time write into a folder, and remove first what a killed one left unfinished."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{folder.name}.lock")):
        for unfinished in folder.glob("*.tmp"):
            unfinished.unlink()
        yield


def write(folder: Path, name: str, array: Array) -> None:
    """Write one array: a kill leaves a whole file or none."""

    def save(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, array)

    files.write(folder / f"{name}.npy", save)


def fault(folder: Path, name: str, sha256: str) -> str | None:
    """Describe in one line what is wrong with a prepared array; None if nothing is."""
    path = folder / f"{name}.npy"
    if not path.is_file():
        return f"{path}: expected a prepared array, found none"
    try:
        actual = digest(np.load(path, mmap_mode="r"))
    # numpy's parser of a damaged header raises much more than ValueError
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        return f"{path}: expected a readable array, found: {reason}"
    return None if actual == sha256 else f"{path}: expected sha256 {sha256}, found {actual}"


def open_arrays(folder: Path, arrays: Mapping[str, str], repair: str) -> dict[str, Array]:
    """Open all arrays of a benchmark, memory-mapped, after checking every byte.

    arrays: name → sha256. repair: what to do, for the error. Raises BadInput for the first array that is missing or
    damaged.
    """
    for name, sha256 in arrays.items():
        if wrong := fault(folder, name, sha256):
            raise BadInput(f"{wrong}; {repair}")
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in arrays}
