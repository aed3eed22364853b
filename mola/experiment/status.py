"""The state of one run, read from its folder without importing torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from mola.config import Suite
from mola.experiment import tuned
from mola.experiment.inputs import inputs

State = Literal["done", "failed", "running", "interrupted", "stale", "to do", "to tune", "tuning"]


def state(suite: Suite, benchmark: str, label: str, seed: int) -> State:
    """done and failed: a record of the present fingerprint; stale: a record of another; interrupted: a checkpoint
    that nobody works on; to tune, tuning: where the suite tunes and what tuning finds is not there yet.
    """
    folder = suite.cell(benchmark, label) / f"seed{seed}"
    if _held(folder / "lock"):
        return "running"
    if suite.tune is not None and tuned.read(suite, benchmark, label) is None:
        return "tuning" if _held(tuned.folder(suite, benchmark, label) / "lock") else "to tune"
    try:
        record = json.loads((folder / "record.json").read_text())
        told = record["fingerprint"]["all"]
    except (OSError, ValueError, KeyError, TypeError):
        return "interrupted" if (folder / "checkpoint.pt").is_file() else "to do"
    if told != inputs(suite, benchmark, label)["fingerprint"]["all"]:
        return "stale"
    return "done" if record["status"] == "done" else "failed"


def _held(lock: Path) -> bool:
    """Whether a living process holds the lock."""
    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
