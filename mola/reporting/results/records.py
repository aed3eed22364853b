"""Records: what the runs of a suite left, and what is wrong with them. Tables read nothing else."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mola.config import Suite
from mola.experiment import tuned
from mola.experiment.inputs import inputs
from mola.experiment.provenance import uncommitted
from mola.types import Task

Record = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One (benchmark, method): a record per finished seed, and a reason for every other seed."""

    label: str
    records: dict[int, Record]  # by seed, in the suite's order
    problems: dict[int, str]  # failed, missing, unreadable, or of other code, settings, splits or data
    group: str | None = None  # the heading it stands under

    @property
    def complete(self) -> bool:
        """Whether every seed of the suite is there."""
        return not self.problems


def collect(
    suite: Suite, benchmark: str, tasks: Sequence[Task] = (), data: str | None = None, drafts: bool = False
) -> list[Cell]:
    """The cells of a benchmark in the suite's order, groups together. A record that does not belong is named as a
    problem, never mixed in.

    tasks:  whose metrics every record must have.
    data:   identity of the prepared data; None where it is not there: then what most records were made on counts.
    drafts: also take runs of code that is in no commit.
    """
    cells = [_cell(suite, benchmark, label, tasks, drafts) for label in suite.methods]
    told = "is there now" if data else "most runs of this table"
    same_data(cells, f"{told}; train it anew", data)
    groups = list(dict.fromkeys(cell.group for cell in cells))
    return sorted(cells, key=lambda cell: groups.index(cell.group))


def read(path: Path) -> tuple[Record, str | None]:
    """A record with its fingerprint and status, or what is wrong with the file."""
    try:
        return parse(path.read_bytes())
    except FileNotFoundError:
        return {}, "missing: not trained"
    except OSError as error:
        return {}, f"unreadable record: {error.strerror}"


def parse(content: bytes) -> tuple[Record, str | None]:
    """The same of a file's content."""
    try:
        record: Record = json.loads(content)
        record["fingerprint"]["all"], record["status"]
    except (ValueError, KeyError, TypeError) as error:
        return {}, f"unreadable record: {type(error).__name__}: {error}"
    return record, None if record["status"] == "done" else f"failed: {record.get('reason')}"


def fault(record: Record, tasks: Sequence[Task]) -> str | None:
    """The first score that a finished run must have and that is no finite number."""
    for rule in ("test", *(["oracle_selection"] if record.get("oracle_selection") else [])):
        for task in tasks:
            for metric in task.metrics:
                try:
                    found: Any = (record if rule == "test" else record[rule])["test"][task.name][metric]
                except (KeyError, TypeError, IndexError):
                    found = "none"
                if not isinstance(found, int | float) or not math.isfinite(found):
                    return f"unreadable record: {rule}: expected a number for {task.name} {metric}, found {found}"
    return None


def _cell(suite: Suite, benchmark: str, label: str, tasks: Sequence[Task], drafts: bool) -> Cell:
    fingerprint = inputs(suite, benchmark, label)["fingerprint"]["all"]
    study = tuned.read(suite, benchmark, label) if suite.tune is not None else None
    cell = Cell(label, {}, {}, suite.methods[label].group)
    for seed in suite.seeds:
        record, problem = read(suite.cell(benchmark, label) / f"seed{seed}" / "record.json")
        if record and record["fingerprint"]["all"] != fingerprint:
            problem = "left out: trained with other code, settings or splits"
        problem = problem or fault(record, tasks)
        if not problem and record.get("dirty") and (files := uncommitted(suite.settings(benchmark, label))):
            told = f"trained with code that is in no commit ({files})"
            if drafts:
                record = {**record, "draft": f"{told}: a draft"}
            else:
                problem = f"left out: {told}; commit it, then: mola table; or, as a draft: mola table --drafts"
        if study and record.get("tuned"):  # a record tells the budget alone
            record = {**record, "tuned": record["tuned"] | {key: study.get(key) for key in ("finished", "pruned")}}
        if problem:
            cell.problems[seed] = problem
        else:
            cell.records[seed] = record
    return cell


def majority(runs: Sequence[Record], of: Callable[[Record], object]) -> object:
    """What most of the runs have; of equally many, what the newest has."""
    found = Counter(map(of, runs))
    return of(max(runs, key=lambda record: (found[of(record)], record.get("time", ""))))


def same_data(cells: Sequence[Cell], told: str, data: str | None = None) -> None:
    """Leave out the records that were made on other prepared data than this, or else than most; told: than what."""
    if runs := [record for cell in cells for record in cell.records.values()]:
        wanted = data or majority(runs, lambda record: record.get("data"))
        for cell in cells:
            for seed in [s for s, record in cell.records.items() if record.get("data") != wanted]:
                del cell.records[seed]
                cell.problems[seed] = f"left out: made on other prepared data than {told}"
