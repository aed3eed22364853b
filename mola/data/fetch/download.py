"""Raw data as its publishers give it: where it is, what it must be, and its terms; downloaded once and remembered."""

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
from mola.data.fetch.transfer import Unavailable, discard, transfer
from mola.data.fetch.verify import OtherData, Verified, identify
from mola.terminal import say
from mola.types import BadInput, Source

DRIVE = "https://drive.google.com/uc?id="


@dataclass(frozen=True)
class Download(Source):
    """A file to be downloaded, or asked for. ``sha256`` may be "": the checksums stand in ``checksums``."""

    file: str  # its name in the download folder
    mirrors: tuple[str, ...] = ()  # tried in order: http(s) addresses, addresses and ids of Google Drive
    checksums: Mapping[str, str] = field(default_factory=dict)  # version → "md5:…" or "sha256:…"; the first is pinned
    size: int | None = None  # bytes, about
    terms: str = ""  # one line, shown before the download
    benchmark: str = ""  # that the file is a part of, where that has another name
    request: str = ""  # for data that is given on request only: where to ask, and what to put where

    @property
    def urls(self) -> list[str]:
        """The addresses of the mirrors."""
        return [mirror if "://" in mirror else DRIVE + mirror for mirror in self.mirrors]


def fetch(download: Download, folder: Path, *, check: bool = False) -> Path:
    """Return the verified file in ``folder``, downloaded from the first mirror that gives it. Costs a stat where it is
    there.

    check: hash it anew. A wrong file is not kept, and the next call resumes an interrupted transfer. Raises BadInput
    where no mirror gives the file (with each one's reason), where it is given on request only, and where the disk is
    full.
    """
    path = folder / download.file
    if not check and version(download, folder) is not None:
        return path
    with disk.errors_as_bad_input(folder, download.file):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            # another process may have downloaded it meanwhile
            known = not check and version(download, folder) is not None
            if not known and not _verified_again(download, path):
                _download(download, path)
    return path


def place(download: Download, path: Path, folder: Path) -> Path:
    """Put a file that the user has into ``folder``, by hard link or copy, after the same checks as a downloaded one.

    Raises BadInput where it is missing or other data; ``path`` and what was in ``folder`` are then left as they were.
    """
    if not path.is_file():
        raise BadInput(f"{path}: expected the file {download.file}, found {'a folder' if path.is_dir() else 'nothing'}")
    source, target = path.resolve(), folder / download.file
    with disk.errors_as_bad_input(folder, download.file):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            shown = show_terms(download)
            staged = folder / f"placed-{download.file}.tmp"
            staged.unlink(missing_ok=True)
            try:
                _link_or_copy(source, staged)
                identity = identify(staged, download.checksums, download.file)
                staged.replace(target)
            except OtherData as other:
                raise BadInput(f"{path}: {other}") from None
            finally:
                # also after the rename, which does nothing between two links to one file
                staged.unlink(missing_ok=True)
            _remember(download, target, identity, str(path), shown)
    return target


def version(download: Download, folder: Path) -> str | None:
    """Return which of the published versions lies in ``folder``, "" where no checksum is published; None where there
    is no verified file.
    """
    verified = Verified.read(folder / download.file)
    if verified is None:
        return None
    if download.checksums and download.checksums.get(verified.version, "").lower() != verified.checksum:
        return None
    return verified.version if download.checksums else ""


def _verified_again(download: Download, path: Path) -> bool:
    """Check a file that is there. Returns False where there is none, or one that must be replaced."""
    if not path.is_file():
        return False
    before = Verified.read(path)
    try:
        unpublished = {"": before.checksum} if before else {}
        identity = identify(path, download.checksums or unpublished, download.file)
    except OtherData as other:
        if not download.mirrors:
            raise BadInput(f"{path}: {other}; {_advice(download)}") from None
        say(f"{path}: {other}; downloading it anew")
        return False
    shown = before.shown if before else show_terms(download)
    _remember(download, path, identity, before.url if before else str(path), shown)
    return True


def _download(download: Download, path: Path) -> None:
    if download.request or not download.mirrors:
        message = f"{path}: expected {download.name}, which is given on request only, found none"
        raise BadInput(f"{message}; {download.request or download.origin}; {_advice(download)}")
    shown = show_terms(download)
    reasons = []
    for url in download.urls:
        staged = _staged(path, url)
        try:
            identity = _from_mirror(download, url, staged)
        except (Unavailable, OtherData) as error:
            reasons.append(f"{url}: {error}")
            say(f"{download.file}: {reasons[-1]}")
            continue
        # gdown wrote the file itself, so that it is renamed here and not by mola.files; nobody else may read it
        staged.chmod(0o644)
        staged.replace(path)
        for other in download.urls:
            discard(_staged(path, other))
        _remember(download, path, identity, url, shown)
        return
    raise BadInput(
        f"{path}: expected {download.name} from its mirrors, found {' | '.join(reasons)}; {_advice(download)}"
    )


def _from_mirror(download: Download, url: str, staged: Path) -> tuple[str, str]:
    """Download a file and check it: twice, if the first time resumed an old part, which may be another file's."""
    say(f"{download.file}: from {url}{f' ({disk.megabytes(download.size)})' if download.size else ''}")
    while True:
        resumed = transfer(url, staged, download.file, download.size)
        try:
            return identify(staged, download.checksums, download.file)
        except OtherData as other:
            discard(staged)
            if not resumed:
                raise
            say(f"{download.file}: {other}; from its beginning")


def _staged(path: Path, url: str) -> Path:
    # a name per mirror: bytes of two of them must never be joined
    return path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}")


def show_terms(download: Download) -> str:
    """Show licence and terms. Returns the time at which it did: UTC, ISO 8601."""
    say(f"{download.name}: {'; '.join(filter(None, (f'licence: {download.licence}', download.terms)))}")
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _advice(download: Download) -> str:
    return f"a file that you have is put there by: mola fetch {download.benchmark or download.name} --from PATH"


def _remember(download: Download, path: Path, identity: tuple[str, str], url: str, shown: str) -> None:
    name, checksum = identity
    if name != next(iter(download.checksums), name):
        say(f"{path}: is version '{name}', not the pinned '{next(iter(download.checksums))}'")
    stat = path.stat()
    Verified(
        download.file, stat.st_size, stat.st_mtime_ns, checksum, name, url, download.licence, download.terms, shown
    ).write(path)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    # another disk, or a file system without links
    except OSError:
        disk.require(target.parent, source.stat().st_size, target.name)
        shutil.copyfile(source, target)
