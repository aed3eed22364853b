"""Unpack an archive that may be hostile or damaged: either all of it stands in the folder, or there is no folder."""

from __future__ import annotations

import json
import os
import posixpath
import re
import shutil
from pathlib import Path

from filelock import FileLock

from mola import files
from mola.data import disk
from mola.data.fetch.archives import Damaged, Member, expanded_size, members
from mola.terminal import progress
from mola.types import BadInput

MARK = ".unpacked.json"  # inside the folder: which archive it was made from
RATIO = 200  # unpacked bytes for a byte of the archive; images have about 1, label maps up to some 50
ALLOWANCE = 64 * 2**20  # bytes that even a tiny archive may unpack to
ENTRY = 512  # bytes that an entry counts at least, so that a million empty files are seen, too
DEEPEST = 100  # folders; Python's mkdir makes each by a call inside the last
OUTSIDE = re.compile(r"[/\\]|[A-Za-z]:[/\\]|(.*[/\\])?\.\.([/\\]|$)", re.S)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack zip, tar, tar.gz, tar.bz2 or tar.xz into ``folder``, which must not exist or be the work of this function.

    Costs nothing where the same archive (name, size, time) was unpacked before, also after the archive was removed; a
    changed one replaces the folder. Links become hard links to files of the archive; modes and times are not kept.
    Raises BadInput where an entry would lie outside the folder, is neither file, folder nor such a link, where the
    archive is damaged or expands absurdly, and where the disk is full.
    """
    if _finished(archive, folder):
        return folder
    if not archive.is_file():
        raise BadInput(f"{archive}: expected an archive, found {'a folder' if archive.is_dir() else 'nothing'}")
    with disk.errors_as_bad_input(folder.parent, f"the content of {archive.name}"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if not _finished(archive, folder):
                _replace(archive, folder)
    return folder


def _finished(archive: Path, folder: Path) -> bool:
    try:
        source = json.loads((folder / MARK).read_text())
    except (OSError, ValueError):
        if folder.exists():
            raise BadInput(
                f"{folder}: expected no folder, or one unpacked from {archive.name}, found another: move it away"
            ) from None
        return False
    return bool(source == _identity(archive) if archive.exists() else source["archive"] == archive.name)


def _identity(archive: Path) -> dict[str, object]:
    stat = archive.stat()
    return {"archive": archive.name, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _replace(archive: Path, folder: Path) -> None:
    unfinished, old = (folder.with_name(f"{folder.name}.{word}.tmp") for word in ("new", "old"))
    try:
        for leftover in (unfinished, old):
            shutil.rmtree(leftover, ignore_errors=True)
        unfinished.mkdir()
        _write_all(archive, unfinished)
        files.write_json(unfinished / MARK, _identity(archive))
        if folder.exists():
            folder.rename(old)
        unfinished.rename(folder)
    except Damaged as damage:
        raise BadInput(f"{archive}: expected a whole archive, found {damage}") from None
    finally:
        for leftover in (unfinished, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _write_all(archive: Path, folder: Path) -> None:
    size = archive.stat().st_size
    left = RATIO * size + ALLOWANCE
    disk.require(folder, min(expanded_size(archive), left), f"the content of {archive.name}")
    links: list[tuple[Path, Member]] = []
    with progress(f"unpacking {archive.name}", size, "bytes") as advance:
        for member in members(archive):
            # so begin the archives that Dropbox packs of a folder
            if member.kind == "folder" and member.name == "/":
                continue
            target = _inside(archive, folder, member.name)
            left -= ENTRY
            if member.kind == "folder":
                target.mkdir(parents=True, exist_ok=True)
            elif member.kind == "link":
                links.append((target, member))
            elif member.content is not None:
                left -= _copy(member, target, left)
            else:
                raise BadInput(f"{archive}: expected files, folders and links, found {member.name!r}, which is none")
            if left < 0:
                raise BadInput(
                    f"{archive}: expected at most {disk.megabytes(RATIO * size + ALLOWANCE)} of content, found more"
                )
            advance(member.done, size)
    # last, so that nothing is written through one
    for target, member in links:
        source = _inside(archive, folder, posixpath.normpath(member.link))
        if not source.is_file():
            raise BadInput(
                f"{archive}: expected a link to a file of the archive, found {member.name!r} → {member.link!r}"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        os.link(source, target)


def _inside(archive: Path, folder: Path, name: str) -> Path:
    if name.count("/") > DEEPEST:
        raise BadInput(f"{archive}: expected entries at most {DEEPEST} folders deep, found {name[:80]!r}…")
    if OUTSIDE.match(name) or "\0" in name:
        raise BadInput(f"{archive}: expected entries inside the folder, found {name!r}")
    return folder / name


def _copy(member: Member, target: Path, limit: int) -> int:
    """Write a file and return its size in bytes; stops soon after ``limit``, which the caller sees."""
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with target.open("wb") as file:
        for chunk in member.chunks():
            file.write(chunk)
            written += len(chunk)
            if written > limit:
                break
    return written
