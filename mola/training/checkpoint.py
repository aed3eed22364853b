"""The checkpoint of a run, from which it goes on bit for bit."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mola import files
from mola.training.seeding import random_state, restore_random_state

log = logging.getLogger(__name__)


class Checkpoint:
    """The state of a training after its last finished epoch, in one file.

    path:        the file.
    fingerprint: of the run; the checkpoint of another one is left alone.
    parts:       what has a ``state_dict`` and a ``load_state_dict``, by name.
    """

    def __init__(self, path: Path, fingerprint: str, parts: Mapping[str, Any]) -> None:
        self.path, self.fingerprint, self.parts = path, fingerprint, parts

    def save(self, epoch: int, curve: list[dict[str, Any]]) -> None:
        """Write the parts, the random generators, the number of finished epochs and the curve."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        state = {"epoch": epoch, "fingerprint": self.fingerprint, **states, "random": random_state(), "curve": curve}
        files.write(self.path, lambda temporary: torch.save(state, temporary))

    def resume(self) -> tuple[int, list[dict[str, Any]]]:
        """Restore what was saved; returns the number of finished epochs and the curve. (0, []) where there is none."""
        if not self.path.is_file():
            return 0, []
        state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        if state["fingerprint"] != self.fingerprint:
            return 0, []
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        restore_random_state(state["random"])
        log.info("resumed after epoch %d", state["epoch"])
        return int(state["epoch"]), state["curve"]
