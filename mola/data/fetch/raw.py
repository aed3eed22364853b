"""The raw data of one benchmark: downloaded, or placed by the user as files or as an unpacked folder; found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from mola import files
from mola.data import disk
from mola.data.fetch import download, unpack
from mola.data.fetch.download import Download
from mola.data.fetch.verify import Verified
from mola.types import BadInput

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class RawData:
    """The files of some sources in a folder, unpacked beside them.

    An archive that the user has unpacked by hand is not copied: ``<file>.folder.json`` remembers where it is.
    repair: what to do where data is missing, for the error.
    """

    def __init__(self, folder: Path, sources: Sequence[Download], repair: str) -> None:
        self.folder, self.sources, self.repair = folder, sources, repair
        self._candidates: dict[str, Path] = {}  # file of a source → folder of the user, while it is checked

    def fetch(self) -> None:
        """Download and check every source, one after another. Costs a stat where all is there."""
        for source in self.sources:
            if (folder := self.placed_folder(source)) is None:
                download.fetch(source, self.folder)
            elif not folder.is_dir():
                raise BadInput(f"{folder}: expected {source.name}, placed by hand, found nothing; place it again")

    def place(self, path: Path, check: Callable[[], object]) -> None:
        """Take data of the user: the file of a source, a folder with such files, or the unpacked content of an archive.

        check: looks at a folder through :meth:`tree` and raises BadInput where it is other data. Raises BadInput for
        the first file, or the folder, that is other data, and leaves that out; of several files those before it are
        placed, as each is whole by itself and may take minutes to check.
        """
        if not path.is_dir():
            self._place_file(self._source_of(path), path)
        elif sources := [source for source in self.sources if (path / source.file).is_file()]:
            for source in sources:
                self._place_file(source, path / source.file)
        else:
            self.place_folder(path, check)

    def place_folder(self, path: Path, check: Callable[[], object]) -> None:
        """Remember a folder with the unpacked content of the only archive, after ``check``. Raises BadInput."""
        packed = [source for source in self.sources if source.file.endswith(ARCHIVES)]
        if len(packed) != 1:
            names = ", ".join(source.file for source in self.sources)
            raise BadInput(f"{path}: expected a folder with {names}, found none of them")
        (source,) = packed
        self._candidates = {source.file: path}
        try:
            check()
        finally:
            self._candidates = {}
        placed = download.show_terms(source)
        record = {"folder": str(path), "placed": placed, "licence": source.licence, "terms": source.terms}
        with disk.errors_as_bad_input(self.folder, "where the folder is"):
            files.write_json(self._record_path(source), record)

    def file(self, source: Download) -> Path:
        """Return the verified file of a source. Raises BadInput where it is not there."""
        path = self.folder / source.file
        if download.version(source, self.folder) is None:
            state = "a file that was not checked as it is now" if path.is_file() else "none"
            raise BadInput(f"{path}: expected verified data, found {state}; {self.repair}")
        return path

    def tree(self, source: Download) -> Path:
        """Return the folder with an archive's content: unpacked here once, or placed by the user."""
        if (folder := self.placed_folder(source)) is not None:
            return folder
        ending = next(ending for ending in ARCHIVES if source.file.endswith(ending))
        return unpack.unpack(self.file(source), self.folder / source.file.removesuffix(ending))

    def placed_folder(self, source: Download) -> Path | None:
        """Return the folder that the user placed for a source; None where there is none."""
        if source.file in self._candidates:
            return self._candidates[source.file]
        record = self._record(source)
        return Path(record["folder"]) if record else None

    def identity(self, source: Download) -> str:
        """Return the checksum of a source's file, or which folder was placed when. Raises BadInput as ``file`` does."""
        if (record := self._record(source)) is not None:
            return f"folder {record['folder']}, placed {record['placed']}"
        verified = Verified.read(self.file(source))
        return verified.checksum if verified else ""

    def identities(self) -> dict[str, str]:
        """Return the identities of the sources that are there: prepared arrays may be all that somebody has."""
        there = (source for source in self.sources if self._record(source) or (self.folder / source.file).is_file())
        return {source.name: self.identity(source) for source in there}

    def key(self, source: Download, names: Sequence[str] = ()) -> dict[str, str]:
        """Return what some files of a source depend on: its checksum; in a placed folder, their sizes and times.

        names: of the files, relative to :meth:`tree`.
        """
        if (folder := self.placed_folder(source)) is None:
            return {"source": self.identity(source)}
        digest = hashlib.sha256()
        for name in names:
            stat = (folder / name).stat()
            digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
        return {"files": digest.hexdigest()}

    def _source_of(self, path: Path) -> Download:
        if len(self.sources) == 1:
            return self.sources[0]
        for source in self.sources:
            if source.file == path.name:
                return source
        raise BadInput(f"{path}: expected {' or '.join(s.file for s in self.sources)}, found another name")

    def _place_file(self, source: Download, path: Path) -> None:
        download.place(source, path, self.folder)
        with disk.errors_as_bad_input(self.folder, source.file):
            self._record_path(source).unlink(missing_ok=True)

    def _record_path(self, source: Download) -> Path:
        return self.folder / f"{source.file}.folder.json"

    def _record(self, source: Download) -> dict[str, str] | None:
        try:
            record: dict[str, str] = json.loads(self._record_path(source).read_text())
        except (OSError, ValueError):
            return None
        return record if {"folder", "placed"} <= set(record) else None
