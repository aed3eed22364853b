"""The checkpoint of a run, from which it goes on bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mola import files


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint by renaming."""
    files.write(path, lambda temporary: torch.save(dict(state), temporary))


def load(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """The checkpoint of a run with this fingerprint, on the CPU; None where there is none, or one of another run."""
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state if state["fingerprint"] == fingerprint else None
