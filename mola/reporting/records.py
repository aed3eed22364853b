"""Records: what the runs of a suite left, and what is wrong with them. Tables read nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from mola.config import Suite
from mola.inputs import inputs

Record = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One (benchmark, method): a record per finished seed, and a reason for every other seed."""

    label: str
    records: dict[int, Record]  # by seed, in the suite's order
    problems: dict[int, str]  # failed, missing, unreadable or of another fingerprint

    @property
    def complete(self) -> bool:
        """Whether every seed of the suite is there."""
        return not self.problems


def collect(suite: Suite, benchmark: str) -> list[Cell]:
    """The cells of a benchmark in the suite's order. A record that does not belong is named as a problem, never
    mixed in.
    """
    return [_cell(suite, benchmark, label) for label in suite.methods]


def _cell(suite: Suite, benchmark: str, label: str) -> Cell:
    fingerprint = inputs(suite, benchmark, label)["fingerprint"]["all"]
    cell = Cell(label, {}, {})
    for seed in suite.seeds:
        record, problem = _read(suite, benchmark, label, seed, fingerprint)
        if problem:
            cell.problems[seed] = problem
        else:
            cell.records[seed] = record
    return cell


def _read(suite: Suite, benchmark: str, label: str, seed: int, fingerprint: str) -> tuple[Record, str | None]:
    path = suite.cell(benchmark, label) / f"seed{seed}" / "record.json"
    try:
        record: Record = json.loads(path.read_text())
        told, status = record["fingerprint"]["all"], record["status"]
    except FileNotFoundError:
        return {}, "missing: not trained"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return {}, f"unreadable record: {type(error).__name__}: {error}"
    if told != fingerprint:
        return {}, "left out: trained with other code, settings or splits"
    if status != "done":
        return {}, f"failed: {record.get('reason')}"
    return record, None
