"""Prepares raw items into arrays that are, byte for byte, what the committed manifest says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mola.data.prepare import store
from mola.data.splits.manifest import Ids, Manifest
from mola.types import BadInput

Build = Callable[[str, Sequence[int]], Mapping[str, store.Array]]  # task, ids → kind of array ("images", …) → array


def prepare(folder: Path, manifest: Manifest, build: Build) -> None:
    """Build the splits that are missing or damaged, and leave the others alone. Costs a checksum if none is.

    Raises BadInput where what was built is not what the manifest says.
    """
    wrong = {name for name, sha256 in manifest.arrays.items() if store.fault(folder, name, sha256)}
    if not wrong:
        return
    with store.sole_writer(folder):
        for task, splits in manifest.ids.items():
            for split, ids in splits.items():
                prefix = f"{task}.{split}."
                if any(name.startswith(prefix) and store.fault(folder, name, manifest.arrays[name]) for name in wrong):
                    for kind, array in build(task, ids).items():
                        _check(array, prefix + kind, manifest)
                        store.write(folder, prefix + kind, array)


def checksums(ids: Ids, build: Build) -> dict[str, str]:
    """Build all arrays and return their sha256 by ``<task>.<split>.<kind>``: the manifest's ``arrays``."""
    return {
        f"{task}.{split}.{kind}": store.digest(array)
        for task, splits in ids.items()
        for split, chosen in splits.items()
        for kind, array in build(task, chosen).items()
    }


def _check(array: store.Array, name: str, manifest: Manifest) -> None:
    expected, actual = manifest.arrays.get(name, "none"), store.digest(array)
    if actual != expected:
        message = f"{manifest.benchmark}: {name}: expected sha256 {expected}, found {actual}"
        raise BadInput(f"{message}; the versions of requirements.lock give the former")
