"""The weights that a run keeps beside its record, where the suite says ``keep: best``.

They are no part of what a run is: the key is in no fingerprint, and a record is the same with them and without. A file
belongs to a record where both have the same ``weights_sha256``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mola import files
from mola.experiment.record import Record
from mola.inference import stored

if TYPE_CHECKING:
    from mola.experiment.spec import Experiment
    from mola.methods import Method

NAME = stored.NAME


def keep(experiment: Experiment, method: Method, benchmark: Any, record: Record) -> None:
    """Write the weights of a run that just ended, where the suite keeps them; else those of an earlier run go."""
    path = experiment.run_folder(record.seed) / NAME
    if experiment.suite.keep == "best" and record.status == "done":
        from mola.inference.describe import describe

        description = describe(benchmark, experiment.settings)
        stored.write(path, method.state_dict(), description, str(record.weights_sha256))
    else:
        path.unlink(missing_ok=True)


def are_kept(folder: Path, record: Record) -> bool:
    """Whether the folder has the weights of a record; read without torch."""
    return record.weights_sha256 is not None and stored.checksum(folder / NAME) == record.weights_sha256


def lacks(experiment: Experiment, seed: int, record: Record | None) -> bool:
    """Whether the suite keeps weights, and a run is done without."""
    if experiment.suite.keep == "none" or record is None or record.status == "failed":
        return False
    return not are_kept(experiment.run_folder(seed), record)


def bring(source: Path, folder: Path, record: Record) -> None:
    """Copy the weights of a record from the folder where it was trained, where they are kept there."""
    if source != folder and are_kept(source, record):
        files.write(folder / NAME, lambda temporary: temporary.write_bytes((source / NAME).read_bytes()))
