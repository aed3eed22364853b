"""Benchmarks whose raw data comes in installed packages or is drawn; the committed manifest fixes every byte."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from mola.benchmarks import Benchmark
from mola.data.prepare import build as preparation
from mola.data.prepare import store
from mola.data.splits.manifest import Ids, Manifest
from mola.types import BadInput, Split


class Packaged(Benchmark):
    """The prepared arrays lie in ``root/<name>``; their checksums stand in ``data/splits/<name>.json``."""

    @property
    def folder(self) -> Path:
        """Where the prepared arrays are."""
        return self.root / self.name

    @abstractmethod
    def content(self, source: str) -> bytes:
        """Return the raw content of a source, for its checksum. Raises OSError where it can't be read."""

    @abstractmethod
    def ids(self) -> Ids:
        """Split the raw items: group → split → ids. Called once, to write the committed manifest."""

    @abstractmethod
    def build(self, task: str, ids: Sequence[int]) -> Mapping[str, store.Array]:
        """Make the arrays of some raw items of a group, from nothing but their ids: "images" (N, H, W, 3) uint8 and
        "labels" (N,) int64, or where every sample has every task, an array for each of these.
        """

    def fetch(self) -> None:
        """Check every source against its checksum. Raises BadInput for the first that is missing or other data."""
        for source in self.sources:
            try:
                actual = hashlib.sha256(self.content(source.name)).hexdigest()
            except (OSError, ImportError, ValueError) as error:
                actual = f"none that can be read: {error}".partition("\n")[0]
            if actual != source.sha256:
                message = f"expected sha256 {source.sha256}, found {actual}; see requirements.lock"
                raise BadInput(f"{self.name}: source '{source.name}' ({source.origin}): {message}")

    def prepare(self) -> Path:
        """Build what is missing or damaged, check it against the committed manifest, and return the folder.

        Costs a checksum of all bytes where everything is there.
        """
        preparation.prepare(self.folder, self._needed, self.build)
        return self.folder

    def write_manifest(self) -> Path:
        """Write the committed manifest anew: for maintainers, after a change of the recipe."""
        ids = self.ids()
        sources = {source.name: source.sha256 for source in self.sources}
        return Manifest(self.name, self.version, sources, ids, preparation.checksums(ids, self.build)).write()

    def lengths(self, split: Split) -> dict[str, int]:
        """Return the samples of each group in a split, as the manifest says."""
        return {group: len(self.manifest.ids[group][split]) for group in self.groups}

    @cached_property
    def manifest(self) -> Manifest:
        """The committed manifest. Raises BadInput where it is not of this recipe."""
        return Manifest.read(self.name, self.version)

    @property
    def _needed(self) -> Manifest:
        """The manifest, of the chosen tasks alone; their arrays are those of the whole benchmark."""
        return self.manifest.of(self.groups)

    @property
    def identity(self) -> str:
        """sha256 over the checksums in the manifest, which the arrays are checked against."""
        return hashlib.sha256(json.dumps(self._needed.arrays, sort_keys=True).encode()).hexdigest()

    @cached_property
    def arrays(self) -> Mapping[str, store.Array]:
        """The prepared arrays, checked byte for byte against the manifest when first used."""
        return store.open_arrays(
            self.folder, self._needed.arrays, f"run `mola prepare -b {self.name}` with the same --config"
        )
