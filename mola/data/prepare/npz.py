"""Reads arrays of an .npz file piece by piece: one that holds 13 GB is never in memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mola.data.fetch.archives import Damaged, errors_as_damage, page
from mola.types import BadInput

CHUNK = 16 * 2**20  # bytes, about
Head = tuple[tuple[int, ...], np.dtype[Any]]  # shape and type
NO_HEAD = (ValueError, SyntaxError, TypeError, KeyError, OverflowError)  # what numpy's reader of a head may raise


def heads(path: Path) -> dict[str, Head]:
    """Return shape and type of every array, by key, from the heads alone. Raises BadInput where ``path`` is no .npz."""
    with _opened(path) as archive:
        by_key = {}
        for name in archive.namelist():
            with archive.open(name) as stream:
                by_key[name.removesuffix(".npy")] = _head(stream, path, name)
        return by_key


def rows(path: Path, key: str, start: int = 0) -> Iterator[NDArray[Any]]:
    """Yield an array from the row ``start`` on, in pieces of some rows, each (n, …).

    Raises BadInput where it is cut off or damaged: also at the very end, so nothing is known to be whole before the
    iterator is exhausted.
    """
    name = f"{key}.npy"
    with _opened(path) as archive, archive.open(name) as stream:
        (number, *rest), dtype = _head(stream, path, name)
        row = prod(rest) * dtype.itemsize
        step = max(CHUNK // max(row, 1), 1)
        stream.seek(stream.tell() + start * row)
        for first in range(start, number, step):
            shape = (min(step, number - first), *rest)
            content = stream.read(shape[0] * row)
            if len(content) < shape[0] * row:
                raise BadInput(f"{path}: {name}: expected {number} rows, found {first} and a part")
            yield np.frombuffer(content, dtype).reshape(shape)
        # the last read: it compares the checksum, too
        if stream.read(1):
            raise BadInput(f"{path}: {name}: expected {number} rows, found more")


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with errors_as_damage():
            if description := page(path):
                raise Damaged(description)
            with zipfile.ZipFile(path) as archive:
                yield archive
    except FileNotFoundError:
        raise BadInput(f"{path}: expected an .npz file, found none") from None
    except Damaged as damage:
        raise BadInput(f"{path}: expected an .npz file, found {damage}") from None


def _head(stream: IO[bytes], path: Path, name: str) -> Head:
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, fortran, dtype = read[np.lib.format.read_magic(stream)](stream)
    except NO_HEAD as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"{path}: expected arrays, found {name}, which is none ({reason})") from None
    if dtype.hasobject or (fortran and len(shape) > 1) or not shape:
        actual = "objects" if dtype.hasobject else "a single value" if not shape else "columns first"
        raise BadInput(f"{path}: {name}: expected an array, rows first, found {actual}")
    return shape, dtype
