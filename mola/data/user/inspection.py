"""Opens every image of a list once, and remembers what was learnt of it beside the file's size and time."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mola import files
from mola.data import disk
from mola.data.prepare import photos
from mola.data.prepare.images import in_threads, reason_of
from mola.terminal import progress
from mola.types import BadInput

FORMAT = 1  # raise it when something else is learnt of a file


class Facts(NamedTuple):
    """What is known of a file.

    sha256: of its bytes. pixels: sha256 of the decoded image, "" where it is none. grey: whether it has no colours.
    problem: why it is no image; "" where it is one.
    """

    size: int
    mtime_ns: int
    sha256: str
    pixels: str
    grey: bool
    problem: str


class Inspection:
    """What is known of the files below a folder. cache: the file where it is kept."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.cache = folder, cache
        self.known = _read(cache)

    def facts(self, names: Sequence[str]) -> dict[str, Facts]:
        """Return what is known of some files, after opening those that are new or changed."""
        fresh = [name for name in names if not self._is_current(name)]
        with progress(f"checking {self.folder.name}", len(fresh)) as advance, warnings.catch_warnings():
            # Pillow warns of odd metadata; around all threads, as they share the filters
            warnings.filterwarnings("ignore", module=r"PIL\.")
            done = 0
            for block in in_threads(lambda block: [(name, _inspected(self.folder / name)) for name in block], fresh):
                self.known.update(block)
                advance(done := done + len(block), None)
        if fresh:
            with disk.errors_as_bad_input(self.cache, "what is known of the images"):
                files.write_json(self.cache, {"format": FORMAT, "files": self.known}, indent=None)
        return {name: self.known[name] for name in names}

    def sha256(self, names: Sequence[str], *, exact: bool) -> dict[str, str]:
        """Return the checksums of some files. exact: of all, after opening those that are new or changed; otherwise of
        those that were opened before, of a changed one that of its bytes now.
        """
        if exact:
            return {name: facts.sha256 for name, facts in self.facts(names).items()}
        return {
            name: self.known[name].sha256 if self._is_current(name) else _sha256(self.folder / name)
            for name in names
            if name in self.known
        }

    def _is_current(self, name: str) -> bool:
        """Whether a file is as it was when it was opened."""
        facts = self.known.get(name)
        if facts is None:
            return False
        try:
            stat = (self.folder / name).stat()
        except OSError:
            return False
        return (stat.st_size, stat.st_mtime_ns) == (facts.size, facts.mtime_ns)


def _inspected(path: Path) -> Facts:
    try:
        stat, content = path.stat(), path.read_bytes()
    except OSError as error:
        return Facts(-1, -1, "", "", False, (error.strerror or str(error)).lower())
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        pixels = np.asarray(photos.decoded(content))
    # Pillow's readers of damaged files raise nearly anything
    except Exception as error:
        return Facts(stat.st_size, stat.st_mtime_ns, sha256, "", False, reason_of(content, error))
    digest = hashlib.sha256(f"{pixels.shape} ".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    grey = bool((pixels == pixels[:, :, :1]).all())
    return Facts(stat.st_size, stat.st_mtime_ns, sha256, digest.hexdigest(), grey, "")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadInput(f"{path}: expected an image, found: {error.strerror or error}") from None


def _read(cache: Path) -> dict[str, Facts]:
    try:
        content = json.loads(cache.read_bytes())
        return {name: Facts(*facts) for name, facts in content["files"].items()} if content["format"] == FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
