"""Is a file the data that was meant? By its checksum, or its form where none is published; remembered beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mola.data.disk import megabytes
from mola.data.fetch import archives
from mola.data.progress import bar

CHUNK = 2**20  # bytes
ARCHIVES = (".zip", ".npz", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class OtherData(Exception):
    """A file is not what was meant: "expected …, found …"."""


@dataclass(frozen=True)
class Verified:
    """What is known of a verified file, in ``<file>.verified.json``: so that it is hashed once, not at every start."""

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
        """What is known of the file at ``path``; None where nothing is, or where the file has changed since."""
        try:
            found, stat = cls(**json.loads(_record(path).read_text())), path.stat()
        except (OSError, ValueError, TypeError):  # none; not JSON; other keys
            return None
        return found if (found.size, found.mtime_ns) == (stat.st_size, stat.st_mtime_ns) else None

    def write(self, path: Path) -> None:
        """Remember it, by rename."""
        temporary = path.with_name(f"{path.name}.verified.tmp")
        temporary.write_text(json.dumps(asdict(self), indent=1) + "\n")
        temporary.replace(_record(path))


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.verified.json")


def identify(path: Path, checksums: Mapping[str, str], name: str) -> tuple[str, str]:
    """The version and the checksum of a file.

    checksums: version → "md5:…" or "sha256:…". Empty: the file must be no HTML page and, if ``name`` (what it will be
    called) is an archive's, whole; the version is then "", the checksum its sha256. Raises OtherData.
    """
    found = _digests(path, name, {value.partition(":")[0] for value in checksums.values()} or {"sha256"})
    for version, checksum in checksums.items():
        if checksum.lower() in found:
            return version, checksum.lower()
    if checksums:
        wanted = " or ".join(f"{checksum} ({version})" for version, checksum in checksums.items())
        actual = archives.page(path) or f"{' '.join(found)} ({megabytes(path.stat().st_size)})"
        raise OtherData(f"expected {wanted}, found {actual}")
    try:
        if page := archives.page(path):
            raise archives.Damaged(page)
        if name.endswith(ARCHIVES):
            archives.check(path, name)
    except archives.Damaged as damage:
        raise OtherData(f"expected a whole file, found {damage}") from None
    return "", found[0]


def _digests(path: Path, title: str, algorithms: set[str]) -> list[str]:
    hashes = {word: hashlib.new(word, usedforsecurity=False) for word in sorted(algorithms)}
    size, done = path.stat().st_size, 0
    with path.open("rb") as file, bar(f"checking {title}", size) as advance:
        while chunk := file.read(CHUNK):
            for digest in hashes.values():
                digest.update(chunk)
            done += len(chunk)
            advance(done, size)
    return [f"{word}:{digest.hexdigest()}" for word, digest in hashes.items()]
