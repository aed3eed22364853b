"""Prepared arrays of downloaded data: streamed to disk, and remembered with what they were made from.

The unit is the arrays of one group and split, ``photo.train``. ``manifest.json`` beside them has, for every unit, a key
of what it was made from, and size, time and sha256 of each array: preparing again costs a stat, and only a unit whose
key changed is prepared anew. Opening compares every byte, once a process. An interrupted unit resumes after its last
rows that are safely on the disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from mola import files
from mola.data import disk
from mola.data.prepare import duplicates, store
from mola.data.prepare.npy_writer import NpyWriter, SafeRows
from mola.terminal import progress
from mola.types import BadInput

MANIFEST = "manifest.json"
Blocks = Iterator[Mapping[str, store.Array]]  # kind → some rows, the same number of each kind
# Files, with their checksums, whose content this process compared.
_whole: set[tuple[Path, str, tuple[int, ...]]] = set()


@dataclass(frozen=True)
class Recipe:
    """How the arrays of one group and split are made: for ``photo.train`` these are ``photo.train.images`` and
    ``photo.train.labels``.
    """

    rows: int
    kinds: Mapping[str, tuple[tuple[int, ...], str]]  # kind → shape of a row, type of its numbers ("uint8")
    made_from: object  # plain data; the arrays are made anew when it differs
    blocks: Callable[[int], Blocks]  # all rows from the given one on, in order, some at a time
    names: Sequence[str] = ()  # of the rows' raw items: listed beside the arrays
    counts: Mapping[str, int] = field(default_factory=dict)  # class → rows, for the manifest

    @cached_property
    def key(self) -> str:
        """A checksum of everything that the arrays depend on."""
        plain = [self.rows, sorted(self.kinds.items()), self.made_from]
        digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
        for name in self.names:
            digest.update(f"\n{name}".encode())
        return digest.hexdigest()

    @property
    def size(self) -> int:
        """The bytes of all arrays."""
        row = sum(int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in self.kinds.values())
        return self.rows * row


class PreparedArray(BaseModel):
    """A file of this size and time is known to have this sha256 (see ``store.digest``)."""

    sha256: str
    size: int  # bytes
    mtime_ns: int

    @classmethod
    def of(cls, path: Path, sha256: str) -> PreparedArray:
        """Describe a file whose checksum is known."""
        stat = path.stat()
        return cls(sha256=sha256, size=stat.st_size, mtime_ns=stat.st_mtime_ns)

    def is_at(self, path: Path) -> bool:
        """Return whether the file is the one that was written."""
        return path.is_file() and PreparedArray.of(path, self.sha256) == self


class PreparedSplit(BaseModel):
    """The prepared arrays of one group and split."""

    key: str
    rows: int
    counts: dict[str, int]
    arrays: dict[str, PreparedArray]  # by kind


class Prepared(BaseModel, populate_by_name=True):
    """The manifest of a prepared folder. ``inputs`` is what all of it depends on: benchmark, version of the recipe,
    options, sources.
    """

    format: Literal[1] = 1
    # written as in the first releases, so that data that was prepared then stays valid
    inputs: dict[str, Any] = Field(alias="told")
    splits: dict[str, PreparedSplit] = Field(alias="parts")  # by ``<group>.<split>``
    complete: bool  # False while some are still being prepared

    @classmethod
    def read(cls, folder: Path) -> Prepared | None:
        """Read the manifest of a folder; None where there is none that can be read."""
        try:
            return cls.model_validate_json((folder / MANIFEST).read_bytes())
        except (OSError, ValueError):
            return None

    def write(self, folder: Path) -> None:
        """Replace the manifest."""
        files.write_json(folder / MANIFEST, self.model_dump(by_alias=True))

    def checksums(self) -> dict[str, str]:
        """Return the sha256 of every array, by ``<group>.<split>.<kind>``."""
        return {
            f"{name}.{kind}": array.sha256
            for name, split in self.splits.items()
            for kind, array in split.arrays.items()
        }

    def of(self, names: Sequence[str]) -> Prepared | None:
        """Return the part with some splits, by ``<group>.<split>``; None where one of them is not there."""
        if not all(name in self.splits for name in names):
            return None
        return self.model_copy(update={"splits": {name: self.splits[name] for name in names}})

    def fault(self, folder: Path) -> str | None:
        """Describe the first array that is missing or not the one that was written; None if all are there."""
        for path, array in self._files(folder):
            if not path.is_file():
                return f"{path}: expected a prepared array, found none"
            if not array.is_at(path):
                return f"{path}: expected the array that was prepared, found another size or time"
        return None

    def damaged(self, folder: Path) -> Iterator[tuple[Path, str]]:
        """Yield the arrays whose content is not the one that was written, and what is wrong with each: damage that
        size and time do not show. Bytes that were whole once are not read again by the same process.
        """
        for path, array in self._files(folder):
            state = (path, array.sha256, _state(path))
            if state not in _whole:
                if wrong := store.fault(folder, path.stem, array.sha256):
                    yield path, wrong
                else:
                    _whole.add(state)

    def open(self, folder: Path, advice: str) -> dict[str, store.Array]:
        """Open all arrays, memory-mapped, by name.

        advice: what prepares them anew, for the message. Raises BadInput for the first one that is damaged.
        """
        for path, wrong in self.damaged(folder):
            raise BadInput(f"{wrong}; remove {path.name}, and {advice}" if path.exists() else f"{wrong}; {advice}")
        return {path.stem: np.load(path, mmap_mode="r") for path, _ in self._files(folder)}

    def _files(self, folder: Path) -> Iterator[tuple[Path, PreparedArray]]:
        for name, split in self.splits.items():
            for kind, array in split.arrays.items():
                yield folder / f"{name}.{kind}.npy", array


def write_prepared(
    folder: Path,
    recipes: Mapping[str, Recipe],
    inputs: Mapping[str, Any],
    others: Mapping[str, PreparedSplit] | None = None,
) -> None:
    """Prepare what is missing or changed, and leave the rest alone. The caller is the folder's sole writer.

    recipes: by ``<group>.<split>``. others: splits that lie in the folder and stay, as other tasks need them; all that
    is in neither is removed. Raises what their blocks raise (what was finished stays, and the next call resumes
    there), and BadInput where they can't be read, or the disk is full or can't be written.
    """
    old, others = Prepared.read(folder), others or {}
    splits = {
        name: old.splits[name]
        for name, recipe in recipes.items()
        if old
        and name in old.splits
        and old.splits[name].key == recipe.key
        and _is_there(folder, name, old.splits[name])
    }
    waiting = {name: recipe for name, recipe in recipes.items() if name not in splits}
    with disk.errors_as_bad_input(folder, "prepared arrays"), progress(f"preparing {folder.name}") as advance:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder, recipes, others)
        resumable = sum(path.stat().st_size for path in folder.glob("*.part"))
        disk.require(folder, sum(recipe.size for recipe in waiting.values()) - resumable, "prepared arrays")
        done, total = 0, sum(recipe.rows for recipe in waiting.values())
        for name, recipe in waiting.items():
            splits[name] = _write(folder, name, recipe, lambda rows, before=done: advance(before + rows, total))  # type: ignore[misc]
            Prepared(inputs=dict(inputs), splits={**others, **splits}, complete=False).write(folder)
            done += recipe.rows
        splits = {name: splits[name] for name in recipes}
        if waiting:
            duplicates.write_list(folder, {name: recipe.names for name, recipe in recipes.items()})
        Prepared(inputs=dict(inputs), splits={**others, **splits}, complete=True).write(folder)


def _is_there(folder: Path, name: str, split: PreparedSplit) -> bool:
    """Return whether all arrays are in the folder; where a copy changed their times, their content decides."""
    for kind, array in split.arrays.items():
        path = folder / f"{name}.{kind}.npy"
        if not array.is_at(path):
            if store.fault(folder, f"{name}.{kind}", array.sha256):
                return False
            split.arrays[kind] = PreparedArray.of(path, array.sha256)
    return True


def _state(path: Path) -> tuple[int, ...]:
    """Return what tells one state of a file from another; nothing of one that is not there."""
    try:
        stat = path.stat()
    except OSError:
        return ()
    # the last one can't be set by whoever copies a file
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _tag(name: str, recipe: Recipe) -> str:
    """Return what the names of unfinished files end with, so that another recipe does not resume them."""
    return f"{name}.{recipe.key[:16]}"


def _sweep(folder: Path, recipes: Mapping[str, Recipe], others: Iterable[str]) -> None:
    """Remove the unfinished files of other recipes, and the arrays of splits that are gone."""
    unfinished = {_tag(name, recipe) for name, recipe in recipes.items()}
    for path in folder.glob("*.part"):
        if path.name.removesuffix(".part").rpartition("@")[2] not in unfinished:
            path.unlink()
    for ending in (".npy", ".txt"):
        for path in folder.glob(f"*{ending}"):
            if path.name != duplicates.NAME and not any(
                path.name.startswith(f"{name}.") for name in (*recipes, *others)
            ):
                path.unlink()


def _read(name: str, recipe: Recipe, start: int) -> Blocks:
    """Yield the blocks. An OSError while they are read is not the fault of the folder that they are written to."""
    try:
        yield from recipe.blocks(start)
    except OSError as error:
        place = error.filename or f"raw data of {name}"
        raise BadInput(f"{place}: expected to read it, found {error.strerror or error}") from None


def _write(folder: Path, name: str, recipe: Recipe, advance: Callable[[int], None]) -> PreparedSplit:
    tag = _tag(name, recipe)
    safe_rows = SafeRows(folder / f"rows@{tag}.part")
    with NpyWriter.open_all(folder, tag, recipe.kinds, recipe.rows) as writers:
        rows = start = min([safe_rows.read(), *(writer.rows_in_file() for writer in writers.values())])
        for writer in writers.values():
            writer.resume_at(start)
        advance(rows)
        for block in _read(name, recipe, start):
            for kind, writer in writers.items():
                writer.append(block[kind])
            rows += len(next(iter(block.values())))
            safe_rows.update(rows, writers.values())
            advance(rows)
        if rows != recipe.rows:
            raise BadInput(f"{folder / name}: expected {recipe.rows} items, found {rows}")
        arrays = {}
        for kind, writer in writers.items():
            path = folder / f"{name}.{kind}.npy"
            arrays[kind] = PreparedArray.of(path, writer.finish(path))
    if recipe.names:
        files.write_text(folder / f"{name}.txt", "".join(f"{item}\n" for item in recipe.names))
    safe_rows.path.unlink(missing_ok=True)
    return PreparedSplit(key=recipe.key, rows=recipe.rows, counts=dict(recipe.counts), arrays=arrays)
