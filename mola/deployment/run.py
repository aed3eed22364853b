"""The run that a command names: its folder, its record, and those of the other seeds of its row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mola.experiment import record as records
from mola.experiment import weights
from mola.experiment.record import Record
from mola.inference.load import HOW_TO_KEEP
from mola.types import BadInput


@dataclass(frozen=True)
class KeptRun:
    """A run with kept weights.

    row: the records of all seeds of its row that are of the same code, settings and data, its own among them.
    """

    folder: Path
    record: Record
    row: tuple[Record, ...]


def kept_run(folder: Path) -> KeptRun:
    """The run of a folder ``…/seed<k>``. Raises BadInput where it has no record, or no weights of that."""
    try:
        record = records.read(folder / records.NAME)
    except FileNotFoundError:
        raise BadInput(
            f"{folder}: expected a run's folder, …/seed0, found no {records.NAME}; mola train --keep makes one"
        ) from None
    except BadInput as error:
        raise BadInput(f"{folder / records.NAME}: {error}") from None
    if record.status != "done":
        raise BadInput(f"{folder}: expected a finished run, found one that failed: {record.reason}")
    if not weights.are_kept(folder, record):
        other = (folder / weights.NAME).is_file()
        actual = f"a {weights.NAME} of another run" if other else f"no {weights.NAME}"
        raise BadInput(f"{folder}: expected a run with kept weights, found {actual}; {HOW_TO_KEEP}")
    return KeptRun(folder, record, _row(folder, record))


def _row(folder: Path, record: Record) -> tuple[Record, ...]:
    row = []
    for path in folder.parent.glob(f"seed*/{records.NAME}"):
        try:
            other = records.read(path)
        except (FileNotFoundError, BadInput):
            continue
        if (other.status, other.fingerprint.all, other.data) == ("done", record.fingerprint.all, record.data):
            row.append(other)
    return tuple(sorted(row, key=lambda one: one.seed))
