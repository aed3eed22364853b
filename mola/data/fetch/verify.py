"""Checks that a file is the data that was meant, by its checksum, or by its form where none is published; remembers the
result beside the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mola import files
from mola.data.disk import megabytes
from mola.data.fetch import archives
from mola.terminal import progress

CHUNK = 2**20  # bytes
ARCHIVES = (".zip", ".npz", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class OtherData(Exception):
    """A file is not what was meant: "expected …, found …"."""


@dataclass(frozen=True)
class Verified:
    """What is known of a verified file. It stands in ``<file>.verified.json``, so that a file is hashed once, not at
    every start.
    """

    file: str
    size: int  # bytes
    mtime_ns: int  # a file of another size or time is another file
    checksum: str  # "md5:…" or "sha256:…", of the content
    version: str  # the name of the checksum that it has; "" where none is published
    url: str  # where it came from: a URL, or the path of a file that was put in by hand
    licence: str
    terms: str
    shown: str  # when licence and terms were shown: UTC, ISO 8601

    @classmethod
    def read(cls, path: Path) -> Verified | None:
        """Return what is known of the file at ``path``; None where nothing is, or where the file has changed since."""
        try:
            verified, stat = cls(**json.loads(_record(path).read_text())), path.stat()
        except (OSError, ValueError, TypeError):
            return None
        return verified if (verified.size, verified.mtime_ns) == (stat.st_size, stat.st_mtime_ns) else None

    def write(self, path: Path) -> None:
        """Write the record of the file at ``path``."""
        files.write_json(_record(path), asdict(self))


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.verified.json")


def identify(path: Path, checksums: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return the version and the checksum of a file.

    checksums: version → "md5:…" or "sha256:…". Empty: the file must be no HTML page and, if ``name`` (what it will be
    called) is an archive's, whole; the version is then "", the checksum its sha256. Raises OtherData.
    """
    digests = _digests(path, name, {value.partition(":")[0] for value in checksums.values()} or {"sha256"})
    for version, checksum in checksums.items():
        if checksum.lower() in digests:
            return version, checksum.lower()
    if checksums:
        expected = " or ".join(f"{checksum} ({version})" for version, checksum in checksums.items())
        actual = archives.page(path) or f"{' '.join(digests)} ({megabytes(path.stat().st_size)})"
        raise OtherData(f"expected {expected}, found {actual}")
    try:
        if page := archives.page(path):
            raise archives.Damaged(page)
        if name.endswith(ARCHIVES):
            archives.check(path, name)
    except archives.Damaged as damage:
        raise OtherData(f"expected a whole file, found {damage}") from None
    return "", digests[0]


def _digests(path: Path, title: str, algorithms: set[str]) -> list[str]:
    hashes = {word: hashlib.new(word, usedforsecurity=False) for word in sorted(algorithms)}
    size, done = path.stat().st_size, 0
    with path.open("rb") as file, progress(f"checking {title}", size, "bytes") as advance:
        while chunk := file.read(CHUNK):
            for digest in hashes.values():
                digest.update(chunk)
            done += len(chunk)
            advance(done, size)
    return [f"{word}:{digest.hexdigest()}" for word, digest in hashes.items()]
