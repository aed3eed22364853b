"""The runs of one row: its seeds, one after the other, and the index that says that all of them are done.

The seeds share a process, so that the seconds of ``import torch`` are paid once.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mola.data import disk
from mola.experiment import index
from mola.experiment import record as records
from mola.experiment.run import train
from mola.experiment.spec import Experiment
from mola.files import write_json
from mola.terminal import progress
from mola.types import BadInput

log = logging.getLogger(__name__)


def train_seeds(experiment: Experiment, seeds: Sequence[int], *, renew: bool = False) -> list[int]:
    """Train the seeds one after the other; returns those that failed, ``training.retries`` included. A failed seed does
    not stop the next.

    Once every seed of the suite is done, ``runs.json`` names them with their checksums: what the workflow waits for, so
    that its next call tries failed ones again. ``renew``: see :func:`train`.
    """
    failed = []
    for seed in seeds:
        with progress(f"{experiment.name} seed {seed}") as on_step:
            record = train(experiment, seed, on_step, renew=renew)
            for again in range(1, experiment.settings.training.retries + 1):
                # one that diverged does so again
                if record.failure is None or record.failure.kind == "diverged":
                    break
                log.info("%s is tried again, %d of %d", record.failure.log, again, experiment.settings.training.retries)
                record = train(experiment, seed, on_step, renew=renew)
            if record.status == "failed":
                failed.append(seed)
    write_index(experiment)
    return failed


def write_index(experiment: Experiment) -> None:
    """Write ``runs.json``, which the workflow waits for, where every seed of the suite is done; remove it where one has
    failed.
    """
    runs = {}
    for seed in experiment.suite.seeds:
        path = experiment.run_folder(seed) / records.NAME
        try:
            record = records.read(path)
        except (FileNotFoundError, BadInput):
            return
        if experiment.stale(record, seed):
            return
        if record.status == "failed":
            (experiment.folder / index.NAME).unlink(missing_ok=True)
            return
        runs[str(seed)] = {"status": record.status, "sha256": index.checksum(path.read_bytes())}
    path, content = experiment.folder / index.NAME, {"fingerprint": experiment.fingerprint["all"], "runs": runs}
    try:
        with disk.errors_as_bad_input(experiment.folder, index.NAME):
            write_json(path, content)
    except BadInput:
        # on a disk that can't be written, runs that are done stay so
        if not _is_written(path, content):
            raise


def _is_written(path: Path, content: dict[str, Any]) -> bool:
    try:
        return index.read(path) == content
    except (FileNotFoundError, BadInput):
        return False
