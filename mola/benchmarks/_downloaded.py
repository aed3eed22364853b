"""Benchmarks whose raw data is downloaded, or put in by hand: fetched, checked against published checksums and counts,
and prepared once into arrays that a manifest beside them describes.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

from mola.benchmarks import Benchmark
from mola.data import disk
from mola.data.fetch import download, unpack
from mola.data.fetch.download import Download
from mola.data.fetch.verify import Verified
from mola.data.prepare import store
from mola.data.prepare.prepared import MANIFEST, Part, Prepared, write_parts
from mola.data.progress import say
from mola.data.splits.manifest import manifest_sha256
from mola.data.splits.rule import Rule
from mola.types import BadInput, Split

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class Downloaded(Benchmark):
    """Raw files in ``root/raw/<name>``, unpacked beside them; prepared arrays in ``root/<name>-<variant>``.

    A subclass says in ``sources`` what is downloaded, in ``parts`` what the arrays are made of, and in ``variant``
    which of its options change them. Published counts stand in its split rule, ``data/splits/<name>.json``.

    official: False for data of the same layout that is not the published one (a part of it, or resized): neither
              checksums nor published counts are asserted then, the layout and the classes are.
    mirror:   an address of the user's own, tried before the published ones: ``<mirror>/<file>``.
    split:    "paper": the paper's own, where validation and test are both the split that the paper reports.
    """

    sources: tuple[Download, ...]

    def __init__(
        self,
        root: Path,
        *,
        limit: int | None = None,
        official: bool = True,
        mirror: str | None = None,
        split: Literal["ours", "paper"] = "ours",
        published: Sequence[Download] | None = None,  # where an option decides over the sources
    ) -> None:
        super().__init__(root, limit=limit)
        self.official, self.mirror, self.split = official, mirror, split
        self.held_out = split != "paper"
        chosen = type(self).sources if published is None else published
        self.sources = tuple(self._as_asked(source) for source in chosen)
        self.raw = self.root / "raw" / self.name
        self._trying: dict[str, Path] = {}  # file of a source → folder by hand, while it is looked at

    @abstractmethod
    def parts(self) -> Mapping[str, Part]:
        """What the arrays are made of, by ``<group>.<split>`` (split "paper": without valid, which is test): read from
        the raw data, whose layout, classes and, if ``official``, counts are checked on the way. Raises BadInput naming
        folder, what was expected and found.
        """

    @property
    def variant(self) -> tuple[str, ...]:
        """The options that change the arrays, as words of a folder's name."""
        return (self.split,) if self.official else (self.split, "unofficial")

    @property
    def folder(self) -> Path:
        """Where the prepared arrays are."""
        return self.root / "-".join((self.name, *self.variant))

    @cached_property
    def rule(self) -> Rule:
        """The committed split rule, with the published counts."""
        return Rule.read(self.name, self.version)

    def remarks(self) -> tuple[str, ...]:
        """What a reader of a table must know about this data."""
        paper = ("split: paper – the epoch is selected on the reported split",) if self.split == "paper" else ()
        return paper if self.official else (*paper, "data: not the published archive")

    def fetch(self) -> None:
        """Bring every source, one after another, and check it. Costs a stat where all is there."""
        for source in self.sources:
            if (folder := self._by_hand(source)) is None:
                download.fetch(source, self.raw)
            elif not folder.is_dir():
                raise BadInput(f"{folder}: expected {source.name}, placed by hand, found nothing; place it again")

    def place(self, path: Path) -> None:
        """Take data that the user has: the file of a source, a folder with such files, or an archive's content as it
        was unpacked by hand. The same checks as after a download; a folder is not copied: its place is remembered.

        Raises BadInput for the first file, or the folder, that is not the data that was meant. It changes nothing; of
        several files those before it are placed, as each is whole by itself and may take minutes to check.
        """
        path = Path(path).resolve()
        if not path.is_dir():
            self._place_file(self._source_of(path), path)
        elif held := [source for source in self.sources if (path / source.file).is_file()]:
            for source in held:
                self._place_file(source, path / source.file)
        else:
            self._place_folder(path)

    def prepare(self) -> Path:
        """Make the arrays that are missing, or of other data, another recipe or other options; goes on where a killed
        one stopped. Costs a stat where all is there, a stat for each file of a folder placed by hand.
        """
        with ExitStack() as stack:
            with disk.errors_told(self.folder, "prepared arrays"):
                stack.enter_context(store.sole_writer(self.folder))
            told, found = self._told(), Prepared.read(self.folder)
            if found is None or not found.complete or found.told != told or found.fault(self.folder):
                write_parts(self.folder, self.parts(), told)
            elif any(self._by_hand(source) for source in self.sources):  # its files may have changed since
                parts = self.parts()
                if {name: part.key for name, part in parts.items()} != {n: made.key for n, made in found.parts.items()}:
                    write_parts(self.folder, parts, told)
        for stale in ("prepared", "arrays"):
            self.__dict__.pop(stale, None)
        return self.folder

    @cached_property
    def prepared(self) -> Prepared:
        """The manifest of the prepared arrays. Raises BadInput where they are not there, not whole, of another recipe,
        or of other raw data than is there now; a file of the size and time that the manifest says is taken for whole.
        """
        found, repair = Prepared.read(self.folder), self._repair("prepare")
        if found is None or not found.complete:
            state = "none" if found is None else "some of them"
            raise BadInput(f"{self.folder}: expected prepared arrays, found {state}; {repair}")
        for key, wanted in (("version", self.version), ("rule", manifest_sha256(self.name))):
            if found.told.get(key) != wanted:
                told = f"expected {key} {wanted}, found {found.told.get(key)}"
                raise BadInput(f"{self.folder / MANIFEST}: {told}; {repair}")
        for name, wanted in self._raw_identities().items():
            if (made_from := (found.told.get("sources") or {}).get(name)) != wanted:
                told = f"expected arrays of source '{name}' as it is now, {wanted}, found those of {made_from}"
                raise BadInput(f"{self.folder / MANIFEST}: {told}; {repair}")
        if wrong := found.fault(self.folder):
            raise BadInput(f"{wrong}; {repair}")
        return found

    @property
    def identity(self) -> str:
        """Of what the manifest beside the arrays says."""
        checksums = {
            f"{name}.{kind}": stored.sha256
            for name, made in self.prepared.parts.items()
            for kind, stored in made.arrays.items()
        }
        return hashlib.sha256(json.dumps(checksums, sort_keys=True).encode()).hexdigest()

    @cached_property
    def arrays(self) -> Mapping[str, store.Array]:
        """Memory-mapped. Raises BadInput as ``prepared`` does."""
        found = self.prepared.open(self.folder)
        if self.split == "paper":
            found |= {name.replace(".test.", ".valid."): array for name, array in found.items() if ".test." in name}
        return found

    def lengths(self, split: Split) -> dict[str, int]:
        """Samples of each group in a split, as prepared."""
        chosen = "test" if self.split == "paper" and split == "valid" else split
        return {group: self.prepared.parts[f"{group}.{chosen}"].rows for group in self.groups}

    # for subclasses

    def file(self, source: Download) -> Path:
        """The verified file of a source. Raises BadInput where it is not there."""
        if download.version(source, self.raw) is None:
            path = self.raw / source.file
            found = "a file that was not checked as it is now" if path.is_file() else "none"
            raise BadInput(f"{path}: expected verified data, found {found}; {self._repair('fetch')}")
        return self.raw / source.file

    def tree(self, source: Download) -> Path:
        """The folder with a source's content: of the archive, which is unpacked once, or the one put in by hand."""
        if (folder := self._by_hand(source)) is not None:
            return folder
        ending = next(ending for ending in ARCHIVES if source.file.endswith(ending))
        return unpack.unpack(self.file(source), self.raw / source.file.removesuffix(ending))

    def made_from(self, source: Download, files: Sequence[str] = ()) -> dict[str, object]:
        """What a part depends on, for its key: recipe and checksum of the source; of a folder by hand, size and time
        of the part's files, given relative to it.
        """
        if (folder := self._by_hand(source)) is None:
            return {"version": self.version, "source": self._identity(source)}
        digest = hashlib.sha256()
        for file in files:
            found = (folder / file).stat()
            digest.update(f"{file} {found.st_size} {found.st_mtime_ns}\n".encode())
        return {"version": self.version, "files": digest.hexdigest()}

    def check_folder(self) -> None:
        """Called by ``place`` while ``tree`` gives the folder in question. Raises BadInput."""
        self.parts()

    # parts of the above

    def _repair(self, command: str) -> str:
        # without its configuration it would bring, or prepare, another variant
        return f"run `mola {command} -b {self.name}` with the same --config"

    def _as_asked(self, source: Download) -> Download:
        changed = replace(source, benchmark=self.name, checksums=source.checksums if self.official else {})
        if self.mirror is None:
            return changed
        own = f"{self.mirror.rstrip('/')}/{source.file}"
        return replace(changed, mirrors=(own, *source.mirrors), request="")

    def _told(self) -> dict[str, object]:
        """What all arrays depend on; plain data, as JSON gives it back."""
        return {
            "benchmark": self.name,
            "version": self.version,
            "variant": list(self.variant),
            "rule": manifest_sha256(self.name),
            "sources": {source.name: self._identity(source) for source in self.sources},
        }

    def _raw_identities(self) -> dict[str, str]:
        """Of the sources that are there: prepared arrays may be all that somebody has."""
        there = (source for source in self.sources if self._record(source) or (self.raw / source.file).is_file())
        return {source.name: self._identity(source) for source in there}

    def _identity(self, source: Download) -> str:
        if (record := self._record(source)) is not None:
            return f"folder {record['folder']}, placed {record['placed']}"
        found = Verified.read(self.file(source))
        return found.checksum if found else ""

    def _source_of(self, path: Path) -> Download:
        if len(self.sources) == 1:
            return self.sources[0]
        for source in self.sources:
            if source.file == path.name:
                return source
        raise BadInput(f"{path}: expected {' or '.join(s.file for s in self.sources)}, found another name")

    def _place_file(self, source: Download, path: Path) -> None:
        download.place(source, path, self.raw)
        with disk.errors_told(self.raw, source.file):
            self._record_path(source).unlink(missing_ok=True)

    def _place_folder(self, path: Path) -> None:
        packed = [source for source in self.sources if source.file.endswith(ARCHIVES)]
        if len(packed) != 1:
            files = ", ".join(source.file for source in self.sources)
            raise BadInput(f"{path}: expected a folder with {files}, found none of them")
        (source,) = packed
        self._trying = {source.file: path}
        try:
            self.check_folder()
        finally:
            self._trying = {}
        say(f"{source.name}: {'; '.join(filter(None, (f'licence: {source.licence}', source.terms)))}")
        placed = datetime.now(UTC).isoformat(timespec="microseconds")
        record = {"folder": str(path), "placed": placed, "licence": source.licence, "terms": source.terms}
        with disk.errors_told(self.raw, "where the folder is"):
            self.raw.mkdir(parents=True, exist_ok=True)
            temporary = self._record_path(source).with_suffix(".tmp")
            temporary.write_text(json.dumps(record, indent=1) + "\n")
            temporary.replace(self._record_path(source))

    def _record_path(self, source: Download) -> Path:
        return self.raw / f"{source.file}.folder.json"

    def _record(self, source: Download) -> dict[str, str] | None:
        try:
            found: dict[str, str] = json.loads(self._record_path(source).read_text())
        except (OSError, ValueError):
            return None
        return found if {"folder", "placed"} <= set(found) else None

    def _by_hand(self, source: Download) -> Path | None:
        if source.file in self._trying:
            return self._trying[source.file]
        record = self._record(source)
        return Path(record["folder"]) if record else None
