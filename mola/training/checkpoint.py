"""The checkpoint of a run, from which it goes on bit for bit: whatever the step, and whatever became of the file."""

from __future__ import annotations

import hashlib
import io
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mola import files
from mola.training.seeding import random_state, restore_random_state

log = logging.getLogger(__name__)
MARK = b"\nmola checkpoint sha256 "  # before the checksum, which ends the file
CHEAP = 0.01  # of the time since the last one: what a checkpoint after an epoch may cost


@dataclass(frozen=True)
class Position:
    """Where a training stands.

    epoch:   finished epochs.
    step:    finished steps of the epoch after them.
    seconds: that these steps took.
    resumed: how often the run went on from a checkpoint.
    parts:   that a batch is computed in, see :mod:`mola.training.split_batch`.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    resumed: int = 0
    parts: int = 1

    def words(self) -> str:
        """``after epoch 2, step 7``."""
        return f"after epoch {self.epoch}" + (f", step {self.step}" if self.step else "")


class Damaged(Exception):
    """A file that is no whole checkpoint."""


class Checkpoint:
    """The state of a training, in one file with a checksum; the file before it is kept as ``<name>.old.pt``.

    path:        the file.
    fingerprint: of the run; the checkpoint of another one is left alone.
    parts:       what has a ``state_dict`` and a ``load_state_dict``, by name.
    """

    def __init__(self, path: Path, fingerprint: str, parts: Mapping[str, Any]) -> None:
        self.path, self.fingerprint, self.parts = path, fingerprint, parts

    @property
    def files(self) -> tuple[Path, Path]:
        """The newest checkpoint, and the one before it."""
        return self.path, older(self.path)

    def save(self, position: Position, curve: list[dict[str, Any]]) -> None:
        """Write the parts, the random generators, the position and the curve. Raises OSError, and keeps what was there
        then.
        """
        states = {name: part.state_dict() for name, part in self.parts.items()}
        state = {
            "position": asdict(position), "fingerprint": self.fingerprint, **states, "random": random_state(),
            "curve": curve,
        }  # fmt: skip
        # in memory first: torch's own writer turns a full disk into other errors
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getbuffer()
        checksum = hashlib.sha256(content).hexdigest().encode()

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                file.write(content)
                file.write(MARK + checksum)

        files.write(self.path, write, older(self.path))

    def resume(self) -> tuple[Position, list[dict[str, Any]]] | None:
        """Restore what was saved; returns the position and the curve. None where there is no checkpoint of this run.

        A damaged file is removed, and the one before it taken.
        """
        for path in self.files:
            try:
                state = _content(path)
            except FileNotFoundError:
                continue
            except Damaged as damage:
                log.warning("%s", f"{path} is damaged ({damage}): left out, the run goes on from an earlier state")
                path.unlink(missing_ok=True)
                continue
            if state["fingerprint"] != self.fingerprint:
                continue
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            restore_random_state(state["random"])
            return Position(**state["position"]), state["curve"]
        return None


def resumed(checkpoint: Checkpoint) -> tuple[Position, list[dict[str, Any]]]:
    """Where a run begins: after what its checkpoint holds, or at the start."""
    if (saved := checkpoint.resume()) is None:
        return Position(), []
    position, curve = saved
    if position.epoch or position.step:
        log.info("resumed %s", position.words())
    return replace(position, resumed=position.resumed + 1), curve


def older(path: Path) -> Path:
    """Where the checkpoint before the newest is."""
    return path.with_suffix(f".old{path.suffix}")


def _content(path: Path) -> dict[str, Any]:
    """Raises OSError for a file that can't be read, and Damaged for one that is no whole checkpoint."""
    content = path.read_bytes()
    view, end = memoryview(content), len(content) - len(MARK) - 64
    if end < 0 or view[end:-64] != MARK:
        raise Damaged("no checksum at its end")
    if hashlib.sha256(view[:end]).hexdigest().encode() != view[-64:]:
        raise Damaged("its checksum is another")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(view[:end]), map_location="cpu", weights_only=True)
    except Exception as error:
        raise Damaged(f"{type(error).__name__}") from None
    return state


class Due:
    """When the next checkpoint is due. It looks at a clock, so that when it is says nothing about what is in it.

    interval: so many minutes, steps or epochs, by the word: ``training.checkpoint``.
    """

    def __init__(self, interval: Mapping[Any, float]) -> None:
        self.interval, self.cost, self.last, self.counts = interval, 0.0, time.monotonic(), {"steps": 0, "epochs": 0}

    def after_step(self) -> bool:
        """Count a step; returns whether a checkpoint is due after it."""
        return self._after("steps")

    def after_epoch(self) -> bool:
        """Count an epoch; returns whether a checkpoint is due after it."""
        is_cheap = "minutes" in self.interval and self.cost <= CHEAP * (time.monotonic() - self.last)
        return self._after("epochs") or is_cheap

    def written(self, seconds: float) -> None:
        """Begin to count anew, after a checkpoint that took so many seconds."""
        self.cost, self.last, self.counts = seconds, time.monotonic(), {"steps": 0, "epochs": 0}

    def _after(self, unit: str) -> bool:
        self.counts[unit] += 1
        if "minutes" in self.interval:
            return time.monotonic() - self.last >= 60 * self.interval["minutes"]
        return unit in self.interval and self.counts[unit] >= self.interval[unit]
