"""Benchmarks whose raw data is downloaded, or placed by the user: checked against published checksums and counts, and
prepared once into arrays with a manifest beside them.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mola.benchmarks import Benchmark
from mola.data import disk
from mola.data.fetch.download import Download
from mola.data.fetch.raw import RawData
from mola.data.prepare import store
from mola.data.prepare.prepared import MANIFEST, Prepared, Recipe, write_prepared
from mola.data.splits.manifest import manifest_sha256
from mola.data.splits.rule import Rule
from mola.types import BadInput, Split


class Downloaded(Benchmark):
    """Raw files are in ``root/raw/<name>``, prepared arrays in ``root/<name>-<variant>``.

    A subclass says in ``sources`` what is downloaded, in ``recipes`` how the arrays are made, and in ``variant`` which
    options change them. Published counts stand in its split rule, ``data/splits/<name>.json``.
    """

    class Options(Benchmark.Options):
        split: Literal["ours", "paper"] = Field(
            "ours", description="paper: the paper's own, where validation and test are both the split that it reports"
        )
        official: bool = Field(
            True,
            description="false for data of the same layout that is not the published one (a part of it, or resized): "
            "neither checksums nor published counts are checked, the layout and the classes are",
        )
        mirror: str | None = Field(None, description="an address of your own, tried first: <mirror>/<file>")

    options: Options
    sources: tuple[Download, ...]

    def __init__(self, root: Path, options: Options) -> None:
        super().__init__(root, options)
        self.held_out = options.split != "paper"
        self.sources = tuple(self._configured(source) for source in self.published_sources())
        self.raw = RawData(self.root / "raw" / self.name, self.sources, self._advice("fetch"))

    def published_sources(self) -> tuple[Download, ...]:
        """Return what is downloaded; for a subclass where an option decides over it."""
        return type(self).sources

    @property
    def published_splits(self) -> dict[Split, str]:
        """Our split → the publisher's train, val or test; in the paper valid is test, and so it is left out."""
        valid: dict[Split, str] = {} if self.options.split == "paper" else {"valid": "val"}
        return {"train": "train", **valid, "test": "test"}

    @abstractmethod
    def recipes(self) -> Mapping[str, Recipe]:
        """Return how the arrays are made, by ``<group>.<split>``; for the paper's split without valid, which is test.

        The layout of the raw data, its classes and, if ``official``, its counts are checked here. Raises BadInput
        naming folder, what was expected and what was found.
        """

    @property
    def variant(self) -> tuple[str, ...]:
        """The options that change the arrays, as words of a folder's name."""
        return (self.options.split,) if self.options.official else (self.options.split, "unofficial")

    @property
    def folder(self) -> Path:
        """Where the prepared arrays are."""
        return self.root / "-".join((self.name, *self.variant))

    @cached_property
    def rule(self) -> Rule:
        """The committed split rule, with the published counts."""
        return Rule.read(self.name, self.version)

    def remarks(self) -> tuple[str, ...]:
        """Return what a reader of a table must know about this data."""
        paper = ("split: paper – the epoch is selected on the reported split",) if self.options.split == "paper" else ()
        return paper if self.options.official else (*paper, "data: not the published archive")

    def fetch(self) -> None:
        """Download every source, one after another, and check it. Costs a stat where all is there."""
        self.raw.fetch()

    def place(self, path: Path) -> None:
        """Take data that the user has, after the same checks as after a download: see ``RawData.place``."""
        self.raw.place(Path(path).resolve(), self.recipes)

    def prepare(self) -> Path:
        """Prepare the arrays that are missing, or of other data, another recipe or other options, and return their
        folder. Those of tasks that are not chosen stay as they are.

        Resumes where a killed call stopped. Costs a stat where all is there, and a stat for each file of a folder that
        was placed by hand, as these may have changed.
        """
        with ExitStack() as stack:
            with disk.errors_as_bad_input(self.folder, "prepared arrays"):
                stack.enter_context(store.sole_writer(self.folder))
            everything = Prepared.read(self.folder)
            inputs, others = self._inputs(), {}
            if everything is not None and (together := _united(everything.inputs, inputs)):
                inputs = together
                others = {name: s for name, s in everything.splits.items() if name.partition(".")[0] not in self.groups}
            old = everything.of(self._stored) if everything else None
            if old is None or not old.complete or old.inputs != inputs or old.fault(self.folder):
                write_prepared(self.folder, self.recipes(), inputs, others)
            elif any(self.raw.placed_folder(source) for source in self.sources):
                recipes, keys = self.recipes(), {name: split.key for name, split in old.splits.items()}
                if {name: recipe.key for name, recipe in recipes.items()} != keys:
                    write_prepared(self.folder, recipes, inputs, others)
        for stale in ("prepared", "arrays"):
            self.__dict__.pop(stale, None)
        return self.folder

    @cached_property
    def prepared(self) -> Prepared:
        """The manifest of the prepared arrays, of the chosen tasks.

        Their content is compared when they are opened. Raises BadInput where arrays are not there, not of the size and
        time that the manifest says, of another recipe, or of other raw data than is there now.
        """
        everything, advice = Prepared.read(self.folder), self._advice("prepare")
        prepared = everything.of(self._stored) if everything else None
        if prepared is None:
            state = "none" if everything is None else "some of them"
            raise BadInput(f"{self.folder}: expected prepared arrays, found {state}; {advice}")
        for key, expected in (("version", self.version), ("rule", manifest_sha256(self.name))):
            if (actual := prepared.inputs.get(key)) != expected:
                raise BadInput(f"{self.folder / MANIFEST}: expected {key} {expected}, found {actual}; {advice}")
        for name, expected in self.raw.identities().items():
            if (actual := (prepared.inputs.get("sources") or {}).get(name)) != expected:
                message = f"expected arrays of source '{name}' as it is now, {expected}, found those of {actual}"
                raise BadInput(f"{self.folder / MANIFEST}: {message}; {advice}")
        if wrong := prepared.fault(self.folder):
            raise BadInput(f"{wrong}; {advice}")
        return prepared

    @property
    def identity(self) -> str:
        """sha256 over the checksums in the manifest beside the arrays. Raises BadInput as ``prepared`` does."""
        return hashlib.sha256(json.dumps(self.prepared.checksums(), sort_keys=True).encode()).hexdigest()

    @cached_property
    def arrays(self) -> Mapping[str, store.Array]:
        """The prepared arrays, memory-mapped, compared byte for byte. Raises BadInput as ``prepared`` does."""
        arrays = self.prepared.open(self.folder, self._advice("prepare"))
        if self.options.split == "paper":
            arrays |= {name.replace(".test.", ".valid."): array for name, array in arrays.items() if ".test." in name}
        return arrays

    def lengths(self, split: Split) -> dict[str, int]:
        """Return the samples of each group in a split, as prepared."""
        stored = "test" if self.options.split == "paper" and split == "valid" else split
        return {group: self.prepared.splits[f"{group}.{stored}"].rows for group in self.groups}

    @property
    def _stored(self) -> list[str]:
        """The arrays that the chosen tasks need, by ``<group>.<split>``."""
        return [f"{group}.{split}" for group in self.groups for split in self.published_splits]

    def made_from(self, source: Download, names: Sequence[str] = ()) -> dict[str, object]:
        """Return what a recipe depends on, for its key. names: of the raw files, relative to ``raw.tree(source)``."""
        return {"version": self.version, **self.raw.key(source, names)}

    def _advice(self, command: str) -> str:
        # without its configuration it would download, or prepare, another variant
        return f"run `mola {command} -b {self.name}` with the same --config"

    def _configured(self, source: Download) -> Download:
        checksums = source.checksums if self.options.official else {}
        changed = replace(source, benchmark=self.name, checksums=checksums)
        if self.options.mirror is None:
            return changed
        address = f"{self.options.mirror.rstrip('/')}/{source.file}"
        return replace(changed, mirrors=(address, *source.mirrors), request="")

    def _inputs(self) -> dict[str, object]:
        """Return what all arrays depend on: plain data, as JSON gives it back."""
        return {
            "benchmark": self.name,
            "version": self.version,
            "variant": list(self.variant),
            "rule": manifest_sha256(self.name),
            "sources": {source.name: self.raw.identity(source) for source in self.sources},
        }


def _united(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the arrays of all tasks depend on, where those that lie there and those that are needed go together;
    None where they are of another recipe, or of other data of a source that both have.
    """
    before, now = old.get("sources") or {}, new["sources"]
    rest = ({key: value for key, value in inputs.items() if key != "sources"} for inputs in (old, new))
    if next(rest) != next(rest) or any(now.get(name, sha256) != sha256 for name, sha256 in before.items()):
        return None
    return {**new, "sources": {**before, **now}}
