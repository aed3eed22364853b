"""The committed split rule of downloaded data, ``data/splits/<benchmark>.json``.

Where the raw data can't be packaged, no list of files is committed but the rule, with the published counts that the
data must have. A split by rank is a function of the files' names alone, so that it is the same on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mola.data.splits.manifest import Committed
from mola.types import Split

ORDER: tuple[Split, ...] = ("train", "valid", "test")


@dataclass(frozen=True)
class Rule(Committed):
    """What defines the splits of a downloaded benchmark."""

    title = "split rule"
    rule: str  # in words
    counts: dict[str, Any]  # the published numbers of items, as the benchmark needs them: task → class → number
    percent: dict[str, int] = field(default_factory=dict)  # split → share, where the rule divides


def ranked(names: Iterable[str], prefix: str = "") -> list[str]:
    """Sort names by the sha256 of ``<prefix><name>``: as good as random, and the same everywhere."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{prefix}{name}".encode()).digest())


def divided(names: Iterable[str], percent: Mapping[str, int], prefix: str = "") -> dict[Split, list[str]]:
    """Divide the names of one class by rank: the first ones train. Three names or more fill all splits."""
    order, ends = ranked(names, prefix), [0]
    for split in ORDER:
        ends.append(ends[-1] + percent[split])
    cuts = [len(order) * end // ends[-1] for end in ends]
    return {split: order[cuts[i] : cuts[i + 1]] for i, split in enumerate(ORDER)}


def interleaved(by_class: Sequence[Sequence[str]]) -> list[tuple[str, int]]:
    """Return (name, class) of all classes, one of each and again, so that a prefix holds all classes."""
    longest = max(map(len, by_class), default=0)
    return [(names[i], label) for i in range(longest) for label, names in enumerate(by_class) if i < len(names)]
