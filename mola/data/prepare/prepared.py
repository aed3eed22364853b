"""Prepared arrays of downloaded data: streamed to disk part by part, and remembered with what each was made from.

A part is the arrays of one task and split. ``manifest.json`` beside them has, for every part, a key of what it was
made from, and size, time and sha256 of each array: opening and preparing again cost a stat, and only a part whose key
changed is made anew. An interrupted part goes on after its last rows that are safely on the disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mola.data import disk
from mola.data.prepare import store
from mola.data.prepare.npy_writer import Growing, Ledger
from mola.data.progress import bar
from mola.types import BadInput

MANIFEST, VERSION = "manifest.json", 1
Blocks = Iterator[Mapping[str, store.Array]]  # kind → some rows, the same number of each kind


@dataclass(frozen=True)
class Part:
    """The arrays ``<part>.<kind>`` to be made, for example ``photo.train.images`` and ``photo.train.labels``."""

    rows: int
    kinds: Mapping[str, tuple[tuple[int, ...], str]]  # kind → shape of a row, type of its numbers ("uint8")
    made_from: object  # plain data; the part is made anew when it differs
    blocks: Callable[[int], Blocks]  # all rows from the given one on, in order, some at a time
    names: Sequence[str] = ()  # of the rows' raw items: listed beside the arrays
    counts: Mapping[str, int] = field(default_factory=dict)  # class → rows: told in the manifest

    @cached_property
    def key(self) -> str:
        """Checksum of everything that the arrays depend on."""
        plain = [self.rows, sorted(self.kinds.items()), self.made_from]
        digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
        for name in self.names:
            digest.update(f"\n{name}".encode())
        return digest.hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all arrays."""
        row = sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in self.kinds.values())
        return self.rows * row


@dataclass(frozen=True)
class Stored:
    """A prepared array: a file of this size and time is known to have this sha256 (see ``store.digest``)."""

    sha256: str
    size: int  # bytes
    mtime_ns: int

    def is_at(self, path: Path) -> bool:
        """Whether the file is the one that was written."""
        try:
            found = path.stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (self.size, self.mtime_ns)


@dataclass(frozen=True)
class Made:
    """A prepared part."""

    key: str
    rows: int
    counts: dict[str, int]
    arrays: dict[str, Stored]  # by kind


@dataclass(frozen=True)
class Prepared:
    """What stands in a prepared folder. ``told`` is what all of it depends on: benchmark, recipe, options, sources."""

    told: dict[str, Any]
    parts: dict[str, Made]
    complete: bool  # False while parts are still being made

    @classmethod
    def read(cls, folder: Path) -> Prepared | None:
        """The manifest of a folder; None where there is none that can be read."""
        try:
            content = json.loads((folder / MANIFEST).read_text())
            if content.pop("format") != VERSION:
                return None
            parts = {
                name: Made(
                    made["key"], made["rows"], made["counts"], {k: Stored(**a) for k, a in made["arrays"].items()}
                )
                for name, made in content["parts"].items()
            }
            return cls(content["told"], parts, content["complete"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def write(self, folder: Path) -> None:
        """Replace the manifest, by rename."""
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f"{MANIFEST}.tmp"
        temporary.write_text(json.dumps({"format": VERSION, **asdict(self)}, indent=1, ensure_ascii=False) + "\n")
        temporary.replace(folder / MANIFEST)

    def fault(self, folder: Path) -> str | None:
        """The first array that is missing or not the one that was written, in one line; None if all are there."""
        for path, stored in self._files(folder):
            if not path.is_file():
                return f"{path}: expected a prepared array, found none"
            if not stored.is_at(path):
                return f"{path}: expected the array that was prepared, found another size or time"
        return None

    def open(self, folder: Path) -> dict[str, store.Array]:
        """All arrays by name, memory-mapped."""
        return {path.stem: np.load(path, mmap_mode="r") for path, _ in self._files(folder)}

    def _files(self, folder: Path) -> Iterator[tuple[Path, Stored]]:
        for name, made in self.parts.items():
            for kind, stored in made.arrays.items():
                yield folder / f"{name}.{kind}.npy", stored


def write_parts(folder: Path, parts: Mapping[str, Part], told: Mapping[str, Any]) -> None:
    """Make the parts that are missing or changed, and leave the others alone. The caller is the folder's sole writer.

    Raises what the parts' blocks raise (what was finished stays, and the next call goes on there), and BadInput where
    they can't be read, or the disk is full or can't be written.
    """
    old = Prepared.read(folder)
    made = {name: old.parts[name] for name in parts if old and name in old.parts}
    made = {name: kept for name, kept in made.items() if kept.key == parts[name].key and _is_there(folder, name, kept)}
    waiting = {name: part for name, part in parts.items() if name not in made}
    with disk.errors_told(folder, "prepared arrays"), bar(f"preparing {folder.name}", unit="items") as advance:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder, {f"{name}.{part.key[:16]}" for name, part in parts.items()}, set(parts))
        there = sum(path.stat().st_size for path in folder.glob("*.part"))
        disk.require(folder, sum(part.size for part in waiting.values()) - there, "prepared arrays")
        done, total = 0, sum(part.rows for part in waiting.values())
        for name, part in waiting.items():
            made[name] = _write(folder, name, part, lambda rows, before=done: advance(before + rows, total))  # type: ignore[misc]
            Prepared(dict(told), made, complete=False).write(folder)
            done += part.rows
        Prepared(dict(told), {name: made[name] for name in parts}, complete=True).write(folder)


def _is_there(folder: Path, name: str, made: Made) -> bool:
    """Also where a copy changed the files' times: they are then known again by their content."""
    for kind, stored in made.arrays.items():
        path = folder / f"{name}.{kind}.npy"
        if not stored.is_at(path):
            if store.fault(folder, f"{name}.{kind}", stored.sha256):
                return False
            found = path.stat()
            made.arrays[kind] = Stored(stored.sha256, found.st_size, found.st_mtime_ns)
    return True


def _sweep(folder: Path, unfinished: set[str], parts: set[str]) -> None:
    """Remove what belongs to no part of now: unfinished files of another key, and arrays of parts that are gone."""
    for path in folder.glob("*.part"):
        if path.name.removesuffix(".part").rpartition("@")[2] not in unfinished:
            path.unlink()
    for ending in (".npy", ".txt"):
        for path in folder.glob(f"*{ending}"):
            if not any(path.name.startswith(f"{name}.") for name in parts):
                path.unlink()


def _read(name: str, part: Part, start: int) -> Blocks:
    """The part's blocks; what the operating system says while they are read is not the fault of where they go."""
    try:
        yield from part.blocks(start)
    except OSError as error:
        place = error.filename or f"raw data of {name}"
        raise BadInput(f"{place}: expected to read it, found {error.strerror or error}") from None


def _write(folder: Path, name: str, part: Part, advance: Callable[[int], None]) -> Made:
    tag = f"{name}.{part.key[:16]}"
    ledger = Ledger(folder / f"rows@{tag}.part")
    with Growing.all(folder, tag, part.kinds, part.rows) as growing:
        start = min([ledger.rows(), *(array.rows_there() for array in growing.values())])
        for array in growing.values():
            array.go_on_at(start)
        rows = start
        advance(rows)
        for block in _read(name, part, start):
            for kind, array in growing.items():
                array.append(block[kind])
            rows += len(next(iter(block.values())))
            ledger.keep(rows, growing.values())
            advance(rows)
        if rows != part.rows:
            raise BadInput(f"{folder / name}: expected {part.rows} items, found {rows}")
        stored = {}
        for kind, array in growing.items():
            path = folder / f"{name}.{kind}.npy"
            sha256 = array.finish(path)
            stored[kind] = Stored(sha256, path.stat().st_size, path.stat().st_mtime_ns)
    if part.names:
        (folder / f"{name}.txt").write_text("".join(f"{item}\n" for item in part.names))
    ledger.path.unlink(missing_ok=True)
    return Made(part.key, part.rows, dict(part.counts), stored)
