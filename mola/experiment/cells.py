"""The seeds of one (benchmark, method) in one process: the seconds of ``import torch`` are paid once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from mola.config import Suite
from mola.experiment.inputs import inputs
from mola.experiment.run import RECORD, train
from mola.files import write_json
from mola.terminal import progress

INDEX = "runs.json"


def train_cell(suite: Suite, benchmark: str, label: str, seeds: Sequence[int]) -> list[int]:
    """Train the seeds one after the other; returns those that failed. A failed seed does not stop the next.

    Once every seed of the suite has a record, ``runs.json`` names them with their status and checksum: what the
    workflow waits for.
    """
    failed = []
    for seed in seeds:
        with progress(f"{benchmark}/{label} seed {seed}") as on_step:
            if train(suite, benchmark, label, seed, on_step) == "failed":
                failed.append(seed)
    _write_index(suite, benchmark, label)
    return failed


def _write_index(suite: Suite, benchmark: str, label: str) -> None:
    folder = suite.cell(benchmark, label)
    fingerprint = inputs(suite, benchmark, label)["fingerprint"]["all"]
    runs = {}
    for seed in suite.seeds:
        path = folder / f"seed{seed}" / RECORD
        if not path.is_file():
            return
        content = path.read_bytes()
        record = json.loads(content)
        if record["fingerprint"]["all"] != fingerprint:
            return
        runs[str(seed)] = {"status": record["status"], "sha256": hashlib.sha256(content).hexdigest()}
    write_json(folder / INDEX, {"fingerprint": fingerprint, "runs": runs})
