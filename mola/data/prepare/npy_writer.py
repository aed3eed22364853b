"""Arrays that grow row by row on the disk, and go on after a kill where the last safe row ended."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from mola.data.prepare import store

SAFE = 64 * 2**20  # bytes between two waits for the disk: so much work at most is done twice
CHUNK = 2**20  # bytes


class Growing:
    """An array of known length, written from its first row to its last into ``<kind>@<tag>.part``.

    Nothing but a block is in memory, and the checksum (as ``store.digest``) is made on the way.
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
    def all(
        cls, folder: Path, tag: str, kinds: Mapping[str, tuple[tuple[int, ...], str]], rows: int
    ) -> Iterator[dict[str, Growing]]:
        """The arrays of a part, by kind; their files are closed in the end."""
        with ExitStack() as stack:
            made = {kind: cls(folder / f"{kind}@{tag}.part", row, dtype, rows) for kind, (row, dtype) in kinds.items()}
            for array in made.values():
                stack.callback(array.file.close)
            yield made

    def rows_there(self) -> int:
        """Whole rows in the file: written, but perhaps not all of them safely."""
        return max(0, self.path.stat().st_size - len(self._header)) // self._width

    def go_on_at(self, row: int) -> None:
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
        found, wanted = (block.shape[1:], block.dtype), (self.row, self.dtype)
        assert found == wanted, f"{self.path}: expected rows of {wanted}, found {found}"
        content = np.ascontiguousarray(block).data.cast("B") if block.size else b""
        self.file.write(content)
        self._hash.update(content)

    def finish(self, target: Path) -> str:
        """Move the whole file to its final name; its checksum."""
        self.sync()
        self.path.replace(target)
        return self._hash.hexdigest()

    def sync(self) -> None:
        """Wait until all rows are on the disk."""
        self.file.flush()
        os.fsync(self.file.fileno())


class Ledger:
    """The number of rows that are safely on the disk, in a small file that is only ever replaced."""

    def __init__(self, path: Path) -> None:
        self.path, self._bytes = path, 0

    def rows(self) -> int:
        """0 where nothing is known."""
        try:
            return int(self.path.read_text())
        except (OSError, ValueError):
            return 0

    def keep(self, rows: int, arrays: Iterable[Growing]) -> None:
        """Make ``rows`` rows of all arrays safe, where enough new ones have come."""
        arrays = list(arrays)
        position = sum(array.file.tell() for array in arrays)
        if position - self._bytes < SAFE:
            return
        self._bytes = position
        for array in arrays:
            array.sync()
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(str(rows))
        temporary.replace(self.path)
