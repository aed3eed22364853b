"""Raw data as its publishers give it: from where, what it must be, under which terms; brought once and remembered."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from mola.data import disk
from mola.data.fetch import transfer
from mola.data.fetch.verify import OtherData, Verified, identify
from mola.data.progress import say
from mola.types import BadInput, Source

DRIVE = "https://drive.google.com/uc?id="


@dataclass(frozen=True)
class Download(Source):
    """A file to be downloaded, or asked for. ``sha256`` may be "": the checksums stand in ``checksums``."""

    file: str  # its name in the download folder
    mirrors: tuple[str, ...] = ()  # in order: http(s) addresses, addresses and ids of Google Drive
    checksums: Mapping[str, str] = field(default_factory=dict)  # version → "md5:…" or "sha256:…"; the first is pinned
    size: int | None = None  # bytes, about
    terms: str = ""  # one line, shown before the download
    benchmark: str = ""  # that the file is a part of, where that has another name
    request: str = ""  # for data that is given on request only: where to ask, and what to put where


def fetch(download: Download, folder: Path, *, check: bool = False) -> Path:
    """The file in ``folder``, verified; downloaded from the first mirror that gives it. Costs a stat where it is there.

    check: hash it anew. A wrong file is not kept, and an interrupted transfer goes on with the next call. Raises
    BadInput where no mirror gives the file (with each one's reason), where it is given on request only, and where the
    disk is full.
    """
    path = folder / download.file
    if not check and version(download, folder) is not None:
        return path
    with disk.errors_told(folder, download.file):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):  # another process may bring it meanwhile
            known = not check and version(download, folder) is not None
            if not known and not _verified_again(download, path):
                _bring(download, path)
    return path


def place(download: Download, path: Path, folder: Path) -> Path:
    """Put a file that the user has into ``folder``, by hard link or copy, after the same checks as a downloaded one.

    Raises BadInput where it is missing or other data; ``path`` and what was in ``folder`` are then left as they were.
    """
    if not path.is_file():
        raise BadInput(f"{path}: expected the file {download.file}, found {'a folder' if path.is_dir() else 'nothing'}")
    source, target = path.resolve(), folder / download.file
    with disk.errors_told(folder, download.file):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            shown = _show_terms(download)
            staged = folder / f"placed-{download.file}.tmp"
            staged.unlink(missing_ok=True)
            try:
                _link_or_copy(source, staged)
                found = identify(staged, download.checksums, download.file)
                staged.replace(target)
                staged.unlink(missing_ok=True)  # rename does nothing between two links to one file
            except OtherData as other:
                raise BadInput(f"{path}: {other}") from None
            finally:
                staged.unlink(missing_ok=True)
            _remember(download, target, found, str(path), shown)
    return target


def version(download: Download, folder: Path) -> str | None:
    """Which of the published versions lies in ``folder`` ("" where no checksum is published); None: none, verified."""
    found = Verified.read(folder / download.file)
    if found is None or (download.checksums and download.checksums.get(found.version, "").lower() != found.checksum):
        return None
    return found.version if download.checksums else ""


def _verified_again(download: Download, path: Path) -> bool:
    """Check a file that is there; False where there is none, or one to be replaced."""
    if not path.is_file():
        return False
    before = Verified.read(path)
    try:
        unpublished = {"": before.checksum} if before else {}
        found = identify(path, download.checksums or unpublished, download.file)
    except OtherData as other:
        if not download.mirrors:
            raise BadInput(f"{path}: {other}; {_by_hand(download)}") from None
        say(f"{path}: {other}; downloading it anew")
        return False
    shown = before.shown if before else _show_terms(download)
    _remember(download, path, found, before.url if before else str(path), shown)
    return True


def _bring(download: Download, path: Path) -> None:
    if download.request or not download.mirrors:
        told = f"{path}: expected {download.name}, which is given on request only, found none"
        raise BadInput(f"{told}; {download.request or download.origin}; {_by_hand(download)}")
    shown = _show_terms(download)
    reasons = []
    for mirror in download.mirrors:
        url = mirror if "://" in mirror else DRIVE + mirror
        staged = _staged(path, url)
        try:
            found = _from_mirror(download, url, staged)
        except (transfer.Unavailable, OtherData) as error:
            reasons.append(f"{url}: {error}")
            say(f"{download.file}: {reasons[-1]}")
            continue
        staged.chmod(0o644)  # gdown's file is the user's alone
        staged.replace(path)
        for other in download.mirrors:
            transfer.discard(_staged(path, other if "://" in other else DRIVE + other))
        _remember(download, path, found, url, shown)
        return
    raise BadInput(
        f"{path}: expected {download.name} from its mirrors, found {' | '.join(reasons)}; {_by_hand(download)}"
    )


def _from_mirror(download: Download, url: str, staged: Path) -> tuple[str, str]:
    """Bring a file and check it: twice, if the first time went on with an old part, which may be another file's."""
    disk.require(staged.parent, (download.size or 0) - transfer.received(staged), download.file)
    say(f"{download.file}: from {url}{f' ({disk.megabytes(download.size)})' if download.size else ''}")
    resumed = transfer.bring(url, staged, download.file, download.size)
    try:
        return identify(staged, download.checksums, download.file)
    except OtherData as other:
        transfer.discard(staged)
        if not resumed:
            raise
        say(f"{download.file}: {other}; from its beginning")
    transfer.bring(url, staged, download.file, download.size)
    try:
        return identify(staged, download.checksums, download.file)
    except OtherData:
        transfer.discard(staged)
        raise


def _staged(path: Path, url: str) -> Path:
    # a name per mirror: bytes of two of them must never be joined
    return path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}")


def _show_terms(download: Download) -> str:
    """Show licence and terms; the time."""
    say(f"{download.name}: {'; '.join(filter(None, (f'licence: {download.licence}', download.terms)))}")
    return datetime.now(UTC).isoformat(timespec="seconds")


def _by_hand(download: Download) -> str:
    return f"a file that you have is put there by: mola fetch {download.benchmark or download.name} --from PATH"


def _remember(download: Download, path: Path, found: tuple[str, str], url: str, shown: str) -> None:
    name, checksum = found
    if name != next(iter(download.checksums), name):
        say(f"{path}: is version '{name}', not the pinned '{next(iter(download.checksums))}'")
    stat = path.stat()
    Verified(
        download.file, stat.st_size, stat.st_mtime_ns, checksum, name, url, download.licence, download.terms, shown
    ).write(path)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        disk.require(target.parent, source.stat().st_size, target.name)
        shutil.copyfile(source, target)
