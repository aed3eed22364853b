"""Room on the disk for what a training writes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import nn

from mola.data import disk

# the weights, the best ones until then, and two moments of each in the optimiser
STATES = 4
# two that are kept, and one that is being written
CHECKPOINTS = 3


def require_room(folder: Path, method: nn.Module, old: Iterable[Path] = ()) -> None:
    """Raise BadInput where a run's checkpoints have no room. old: those that are there."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    weights = sum(value.numel() * value.element_size() for value in method.state_dict().values())
    needed = CHECKPOINTS * STATES * weights - sum(map(_size, old))
    with disk.errors_as_bad_input(existing, "checkpoints"):
        disk.require(existing, needed, "checkpoints")


def _size(path: Path) -> int:
    """The bytes of a file; 0 of one that another process has renamed or removed since it was listed."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
