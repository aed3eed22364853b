"""Reads zip and tar archives member by member, in one pass, and notices what is cut off or damaged.

The content decides which format it is: a download's name may lie.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import posixpath
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from mola.terminal import progress

Kind = Literal["file", "folder", "link", "other"]
BLOCK = 512  # bytes; a tar archive consists of these
CHUNK = 2**20  # bytes
LARGEST = 16 * CHUNK  # of a tar entry's header and of the padding at its end: both have some kilobytes
PAGE = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|script)\b", re.I | re.S)
TITLE = re.compile(rb"<title[^>]*>(.*?)</title", re.I | re.S)
COMPRESSIONS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, UnicodeError)


class Damaged(Exception):
    """What an archive is instead of a whole one, in a few words."""


@dataclass(frozen=True)
class Member:
    """One entry of an archive, to be read before the next one is asked for."""

    name: str  # as the archive has it: not to be trusted
    kind: Kind
    content: IO[bytes] | None  # of a file
    link: str  # of a link: its target, relative to the archive's root
    done: int  # bytes of the archive that lie before this entry

    def chunks(self) -> Iterator[bytes]:
        """Yield the content, piece by piece. Raises Damaged."""
        with errors_as_damage():
            while self.content is not None and (chunk := self.content.read(CHUNK)):
                yield chunk


def members(path: Path) -> Iterator[Member]:
    """Yield all entries, in order.

    Raises Damaged where the archive is not one, or ends too early: also at the very end, so nothing is known to be
    whole before the iterator is exhausted.
    """
    with path.open("rb") as file:
        head = file.read(BLOCK)
        file.seek(0)
        with errors_as_damage():
            if head[:2] == b"PK":
                yield from _zip_members(file)
            elif opener := next((o for magic, o in COMPRESSIONS.items() if head.startswith(magic)), None):
                with opener(file) as stream:
                    yield from _tar_members(stream, file)
            elif head[257:262] == b"ustar":
                yield from _tar_members(file, file)
            else:
                raise Damaged(page(path) or f"neither zip nor tar (it starts with {head[:8]!r})")


def check(path: Path, title: str) -> None:
    """Read everything once; ``title`` is what a progress bar calls it. Raises Damaged."""
    size = path.stat().st_size
    with progress(f"checking {title}", size, "bytes") as advance:
        for member in members(path):
            for _ in member.chunks():
                pass
            advance(member.done, size)


def expanded_size(path: Path) -> int:
    """Return the bytes of content that an archive says it has; for a tar, which does not say, the archive's size."""
    if not zipfile.is_zipfile(path):
        return path.stat().st_size
    with errors_as_damage(), zipfile.ZipFile(path) as archive:
        return sum(info.file_size for info in archive.infolist())


def page(path: Path) -> str | None:
    """Describe a file that is an HTML page, which an expired link or a used-up quota gives; None for any other file."""
    with path.open("rb") as file:
        head = file.read(2**16).removeprefix(b"\xef\xbb\xbf")
    if not PAGE.match(head):
        return None
    title = " ".join(match[1].decode(errors="replace").split())[:80] if (match := TITLE.search(head)) else ""
    return f"an HTML page{f' ({title!r})' if title else ''}: the link has expired, wants a login or is over its quota"


@contextmanager
def errors_as_damage() -> Iterator[None]:
    """Turn what zipfile, tarfile and the decompressors raise while the block reads an archive into Damaged."""
    try:
        yield
    except DAMAGE as error:
        raise Damaged(f"a truncated or damaged archive ({' '.join(str(error).split())})") from None
    # zipfile: an unknown compression; a password
    except (NotImplementedError, RuntimeError) as error:
        raise Damaged(f"an archive that can't be read ({error})") from None
    except OSError as error:
        # the disk's, not the content's: bz2 has no class of its own for damage
        if error.errno is not None:
            raise
        raise Damaged(f"a damaged archive ({error})") from None


def _zip_members(file: IO[bytes]) -> Iterator[Member]:
    done = 0
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            # the Unix file type, 0 where another system made the archive; a link's target would be its content
            mode = info.external_attr >> 28
            kind: Kind = "folder" if info.is_dir() else "file" if mode in (0, 0o10) else "other"
            with archive.open(info) if kind == "file" else nullcontext() as content:
                yield Member(info.filename, kind, content, "", done)
            done += info.compress_size


def _tar_members(stream: IO[bytes], file: IO[bytes]) -> Iterator[Member]:
    limited = _LimitedStream(stream)
    with tarfile.TarFile(fileobj=limited) as archive:  # type: ignore[arg-type]  # it needs read, seek and tell only
        for info in archive:
            archive.members = []  # type: ignore[attr-defined]  # it would keep every entry in memory
            kind: Kind = "file" if info.isreg() else "folder" if info.isdir() else "other"
            link = ""
            if info.issym() or info.islnk():
                # a symbolic link is relative to its folder, a hard link to the archive
                kind, base = "link", posixpath.dirname(info.name) if info.issym() else ""
                link = posixpath.join(base, info.linkname)
            yield Member(info.name, kind, archive.extractfile(info) if kind == "file" else None, link, file.tell())
    # tarfile takes an unreadable entry for the end of the archive
    if limited.last != bytes(BLOCK):
        raise Damaged("a truncated or damaged archive (no end mark)")
    # the checksum of a compressed stream stands at its end, after some padding
    for _ in range(LARGEST // CHUNK):
        if not stream.read(CHUNK):
            return
    raise Damaged("an archive with much after its end mark")


class _LimitedStream:
    """A stream that remembers what was read last, and reads no more at once than a sane archive needs."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.last, self._read, self.seek, self.tell = b"", stream.read, stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        # tarfile reads a long name at once, into memory
        if size > LARGEST:
            raise tarfile.ReadError(f"a header of {size} bytes")
        self.last = self._read(size)
        return self.last
