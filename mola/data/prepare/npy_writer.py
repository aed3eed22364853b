"""Writes .npy files row by row, and resumes after a kill where the last row ended that is safely on the disk."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from mola import files
from mola.data.prepare import store

SAFE = 64 * 2**20  # bytes between two waits for the disk: so much work at most is done twice
CHUNK = 2**20  # bytes


class NpyWriter:
    """Writes an array of known length from its first row to its last into ``<kind>@<tag>.part``.

    Only a block is in memory, and the checksum (that of ``store.digest``) is computed on the way. It streams, and a
    kill must leave the rows that are there, so that it does not write through ``mola.files``.
    """

    def __init__(self, path: Path, row: tuple[int, ...], dtype: str, rows: int) -> None:
        self.path, self.row, self.dtype, self.shape = path, row, np.dtype(dtype), (rows, *row)
        header = io.BytesIO()
        described = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": self.shape}
        np.lib.format.write_array_header_1_0(header, described)
        self._header, self._width = header.getvalue(), int(np.prod(row)) * self.dtype.itemsize
        self._hash = hashlib.sha256()
        self.file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")

    @classmethod
    @contextmanager
    def open_all(
        cls, folder: Path, tag: str, kinds: Mapping[str, tuple[tuple[int, ...], str]], rows: int
    ) -> Iterator[dict[str, NpyWriter]]:
        """Open a writer for each kind of array, and close their files in the end."""
        with ExitStack() as stack:
            writers = {
                kind: cls(folder / f"{kind}@{tag}.part", row, dtype, rows) for kind, (row, dtype) in kinds.items()
            }
            for writer in writers.values():
                stack.callback(writer.file.close)
            yield writers

    def rows_in_file(self) -> int:
        """Count the whole rows in the file: written, but perhaps not all of them safely."""
        return max(0, self.path.stat().st_size - len(self._header)) // self._width

    def resume_at(self, row: int) -> None:
        """Keep the first ``row`` rows, hash them, and be ready for the next one."""
        self.file.truncate(len(self._header) + row * self._width if row else 0)
        self.file.seek(0)
        if not row:
            self.file.write(self._header)
        self._hash = hashlib.sha256(f"{self.dtype.str} {self.shape} ".encode())
        self.file.seek(len(self._header))
        while chunk := self.file.read(CHUNK):
            self._hash.update(chunk)

    def append(self, block: store.Array) -> None:
        """Write the next rows."""
        actual, expected = (block.shape[1:], block.dtype), (self.row, self.dtype)
        assert actual == expected, f"{self.path}: expected rows of {expected}, found {actual}"
        content = np.ascontiguousarray(block).data.cast("B") if block.size else b""
        self.file.write(content)
        self._hash.update(content)

    def finish(self, target: Path) -> str:
        """Move the whole file to its final name. Returns its checksum."""
        self.sync()
        self.path.replace(target)
        return self._hash.hexdigest()

    def sync(self) -> None:
        """Wait until all rows are on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())


class SafeRows:
    """The number of rows that are safely on the disk, in a small file."""

    def __init__(self, path: Path) -> None:
        self.path, self._bytes = path, 0

    def read(self) -> int:
        """Return the number of rows; 0 where nothing is known."""
        try:
            return int(self.path.read_text())
        except (OSError, ValueError):
            return 0

    def update(self, rows: int, writers: Collection[NpyWriter]) -> None:
        """Make the first ``rows`` rows of all arrays safe, if enough were written since the last time."""
        position = sum(writer.file.tell() for writer in writers)
        if position - self._bytes < SAFE:
            return
        self._bytes = position
        for writer in writers:
            writer.sync()
        files.write_text(self.path, str(rows))
