"""From raw items to prepared arrays that are, byte for byte, what the committed manifest says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mola.data import store
from mola.data.manifest import Ids, Manifest
from mola.types import BadInput

Build = Callable[[str, Sequence[int]], tuple[store.Array, store.Array]]  # task, ids → images, labels


def prepare(folder: Path, manifest: Manifest, build: Build) -> None:
    """Build the splits that are missing or damaged, and leave the others alone. Costs a checksum where all is there.

    Raises BadInput where what was built is not what the manifest says.
    """
    if not any(store.fault(folder, name, sha256) for name, sha256 in manifest.arrays.items()):
        return
    with store.sole_writer(folder):
        for task, splits in manifest.ids.items():
            for split, ids in splits.items():
                names = _names(task, split)
                if any(store.fault(folder, name, manifest.arrays[name]) for name in names):
                    for name, array in zip(names, build(task, ids), strict=True):
                        _check(array, name, manifest)
                        store.write(folder, name, array)


def checksums(ids: Ids, build: Build) -> dict[str, str]:
    """Array name → sha256, of all arrays newly built: the manifest's ``arrays``."""
    return {
        name: store.digest(array)
        for task, splits in ids.items()
        for split, chosen in splits.items()
        for name, array in zip(_names(task, split), build(task, chosen), strict=True)
    }


def _names(task: str, split: str) -> tuple[str, str]:
    return f"{task}.{split}.images", f"{task}.{split}.labels"


def _check(array: store.Array, name: str, manifest: Manifest) -> None:
    wanted, found = manifest.arrays[name], store.digest(array)
    if found != wanted:
        told = f"{manifest.benchmark}: {name}: expected sha256 {wanted}, found {found}"
        raise BadInput(f"{told}; the versions of requirements.lock make the former")
