"""Images that are in several splits: what a model was trained on is no test of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from mola import files
from mola.terminal import say

NAME = "duplicates.txt"  # beside the arrays: a line for every image that is in several splits
Place = tuple[str, str]  # split, and the image's name with its group before it


def write_list(folder: Path, names: Mapping[str, Sequence[str]]) -> None:
    """Look at all prepared images once; say how many are in several splits, and list them in a file.

    names: ``<group>.<split>`` → what each of its images is called; without names it is called by its number.
    """
    path = folder / NAME
    path.unlink(missing_ok=True)
    if lines := [" = ".join(f"{name} ({split})" for split, name in same) for same in in_several_splits(folder, names)]:
        files.write_text(path, "".join(f"{line}\n" for line in lines))
        number = f"{len(lines)} image{'s are' if len(lines) > 1 else ' is'}"
        say(f"{folder.name}: {number} in several splits, pixel by pixel, as {lines[0]}; all of them: {path}")


def in_several_splits(folder: Path, names: Mapping[str, Sequence[str]]) -> Iterator[list[Place]]:
    """The places of every image whose pixels are in several splits of whatever groups, in order.

    Splits with the same images in the same order are one: of published data, valid may be test.
    """
    places: dict[bytes, list[Place]] = defaultdict(list)
    whole: dict[tuple[str, bytes], str] = {}
    for unit, items in names.items():
        group, _, split = unit.rpartition(".")
        array = folder / f"{unit}.images.npy"
        if not array.is_file():
            continue
        digests = [
            blake2b(np.ascontiguousarray(row).data, digest_size=16).digest() for row in np.load(array, mmap_mode="r")
        ]
        split = whole.setdefault((group, b"".join(digests)), split)
        for number, digest in enumerate(digests):
            place = split, f"{group}/{items[number] if number < len(items) else f'number {number}'}"
            if place not in places[digest]:
                places[digest].append(place)
    for same in places.values():
        if len({split for split, _ in same}) > 1:
            yield same
