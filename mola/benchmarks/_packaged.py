"""Benchmarks whose raw data comes in installed packages or is drawn: the committed manifest fixes every byte."""

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
from mola.data.splits.manifest import Ids, Manifest, manifest_path
from mola.types import BadInput, Split


class Packaged(Benchmark):
    """The prepared arrays lie in ``root/<name>``; their checksums stand in ``data/splits/<name>.json``."""

    def __init__(self, root: Path, *, limit: int | None = None) -> None:
        super().__init__(root, limit=limit)
        self.folder = self.root / self.name

    @abstractmethod
    def content(self, source: str) -> bytes:
        """The raw content of a source, for its checksum. Raises OSError where it is not to be had."""

    @abstractmethod
    def ids(self) -> Ids:
        """The split of the raw items, group → split → ids: asked once, to write the committed manifest."""

    @abstractmethod
    def build(self, task: str, ids: Sequence[int]) -> Mapping[str, store.Array]:
        """The prepared arrays of some raw items of a group: "images" (N, H, W, 3) uint8 and "labels" (N,) int64, or
        where every sample has every task, an array for each of them. Must not depend on anything but the ids.
        """

    def fetch(self) -> None:
        """Check every source against its checksum. Raises BadInput for the first that is missing or another."""
        for source in self.sources:
            try:
                found = hashlib.sha256(self.content(source.name)).hexdigest()
            except (OSError, ImportError, ValueError) as error:
                found = f"none that can be read: {error}".partition("\n")[0]
            if found != source.sha256:
                wanted = f"expected sha256 {source.sha256}, found {found}"
                raise BadInput(
                    f"{self.name}: source '{source.name}' ({source.origin}): {wanted}; see requirements.lock"
                )

    def prepare(self) -> Path:
        """Build what is missing or damaged, and check it against the committed manifest. Costs a checksum where all
        is there.
        """
        preparation.prepare(self.folder, self.manifest, self.build)
        return self.folder

    def write_manifest(self) -> Path:
        """Write the committed manifest anew: for maintainers, after a change of the recipe."""
        ids = self.ids()
        sources = {source.name: source.sha256 for source in self.sources}
        return Manifest(self.name, self.version, sources, ids, preparation.checksums(ids, self.build)).write()

    def lengths(self, split: Split) -> dict[str, int]:
        """Samples of each group in a split, as the manifest says."""
        return {group: len(self.manifest.ids[group][split]) for group in self.groups}

    @cached_property
    def manifest(self) -> Manifest:
        """The committed manifest. Raises BadInput where it is not of this recipe."""
        manifest = Manifest.read(self.name)
        if manifest.version != self.version:
            wanted = f"expected version {self.version} of the recipe, found {manifest.version}"
            raise BadInput(f"{manifest_path(self.name)}: {wanted}; take both the file and the code from one commit")
        return manifest

    @property
    def identity(self) -> str:
        """Of what the manifest says, which the arrays are checked against."""
        return hashlib.sha256(json.dumps(self.manifest.arrays, sort_keys=True).encode()).hexdigest()

    @cached_property
    def arrays(self) -> Mapping[str, store.Array]:
        """Checked byte for byte against the manifest when first asked for."""
        return store.open_arrays(
            self.folder, self.manifest.arrays, f"run `mola prepare -b {self.name}` with the same --config"
        )
