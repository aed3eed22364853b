"""What the runs of a benchmark left: a record per run, or why it does not count. Tables read nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mola.experiment import record as stored
from mola.experiment.plausible import fault
from mola.experiment.provenance import only_of_user, uncommitted
from mola.experiment.record import OracleSelection, Record
from mola.experiment.spec import Experiment, other_versions
from mola.metrics import overall
from mola.reporting.statistics.intervals import Floats
from mola.types import BadInput, Task

FAILED = "failed: "  # how the reason of a failed run begins


@dataclass(frozen=True)
class Row:
    """The runs of one row on one benchmark: a record per finished seed, and a reason for every other seed.

    records:    by seed, in the suite's order.
    problems:   why a seed has no record that counts: failed, missing, unreadable, or of other code, settings or data.
    remarks:    what a reader must know of records that count, by seed: drafts, and other versions of packages.
    experiment: None for runs of a snapshot, which no configuration describes.
    group:      the heading that the row stands under.
    drafts:     seeds whose record is of code that is in no commit, whether it counts or not.
    """

    label: str
    records: dict[int, Record]
    problems: dict[int, str]
    remarks: dict[int, list[str]] = field(default_factory=dict)
    experiment: Experiment | None = None
    group: str | None = None
    drafts: set[int] = field(default_factory=set)

    @property
    def is_draft(self) -> bool:
        """Whether a record that counts is of code that is in no commit."""
        return not self.drafts.isdisjoint(self.records)

    @property
    def complete(self) -> bool:
        """Whether every seed of the suite has a record that counts."""
        return not self.problems

    def leave_out(self, seed: int, reason: str) -> None:
        """Let the record of a seed no longer count."""
        del self.records[seed]
        self.remarks.pop(seed, None)
        self.problems[seed] = reason

    @property
    def tuning(self) -> Mapping[str, Any]:
        """What tuning cost, ``finished`` and ``pruned`` trials among it; empty where the suite does not tune."""
        return (self.experiment.tuning_result if self.experiment and self.experiment.is_tuned else None) or {}


def collect(experiments: Sequence[Experiment], tasks: Sequence[Task] = (), drafts: bool = False) -> list[Row]:
    """The rows of a benchmark, groups together. A record that does not belong is a problem, and is never mixed in.

    experiments: of one benchmark, in the suite's order.
    tasks:       whose metrics every record must have.
    drafts:      also take runs of code of this package that is in no commit, as is done where there are no others; runs
                 of code of the user's own that is in no commit, and runs that were trained without git, are always
                 drafts.
    """
    rows = [_row(experiment, tasks, drafts) for experiment in experiments]
    if not any(row.records for row in rows) and any(row.drafts for row in rows):
        rows = [_row(experiment, tasks, True) for experiment in experiments]
    same_data(rows, "most runs of this table; train it anew")
    groups = list(dict.fromkeys(row.group for row in rows))
    return sorted(rows, key=lambda row: groups.index(row.group))


def score(scored: Record | OracleSelection, tasks: Sequence[Task]) -> float:
    """What ranks a run, × 100, on test: percent where it is a mean of fractions, else near to percent in differences
    (``mola.metrics.overall``).
    """
    return 100 * overall(scored.test, tasks)


def scores(records: Mapping[int, Record], tasks: Sequence[Task]) -> Floats:
    """(S,) the score of every run, by seed."""
    return np.array([score(record, tasks) for record in records.values()])


def pairs(ours: Mapping[int, Record], theirs: Mapping[int, Record]) -> list[tuple[Record, Record]]:
    """The records of every seed that both have, in the order of the first."""
    return [(record, theirs[seed]) for seed, record in ours.items() if seed in theirs]


def majority(runs: Sequence[Record], of: Callable[[Record], object]) -> object:
    """What most of the runs have; of equally many, what the newest has."""
    counts = Counter(map(of, runs))
    return of(max(runs, key=lambda record: (counts[of(record)], record.time)))


def same_data(rows: Sequence[Row], basis: str) -> None:
    """Leave out the records that were made on other prepared data than most; ``basis`` says than what."""
    if runs := [record for row in rows for record in row.records.values()]:
        usual = majority(runs, lambda record: record.data)
        for row in rows:
            for seed in [seed for seed, record in row.records.items() if record.data != usual]:
                row.leave_out(seed, f"left out: made on other prepared data than {basis}")


def _row(experiment: Experiment, tasks: Sequence[Task], drafts: bool) -> Row:
    row = Row(experiment.label, {}, {}, {}, experiment, experiment.suite.methods[experiment.label].group)
    for seed in experiment.suite.seeds:
        try:
            record = stored.read(experiment.run_folder(seed) / stored.NAME)
        except (FileNotFoundError, BadInput) as error:
            row.problems[seed] = str(error) if isinstance(error, BadInput) else "missing: not trained"
            continue
        problem, remarks = _problem(record, experiment, seed, tasks), []
        if not problem and record.dirty is not False and (files := uncommitted(experiment)):
            code = f"trained with code that is in no commit ({files})"
            problem = f"left out: {code}; commit it, then: mola table; or, as a draft: mola table --drafts"
            row.drafts.add(seed)
            if drafts or record.dirty is None or only_of_user(experiment):
                problem, remarks = None, [f"{code}: a draft"]
        if problem:
            row.problems[seed] = problem
            continue
        if versions := other_versions(record):
            remarks.append(f"trained with {', '.join(versions)}; mola train --renew trains such runs again")
        if record.batch_parts > 1:
            what = f"memory ran out, so that batches were computed in {record.batch_parts} parts, gradients added up"
            remarks.append(f"{what}: another computation where BatchNorm or an auxiliary loss sees a part of a batch")
        row.records[seed], row.remarks[seed] = record, remarks
    return row


def _problem(record: Record, experiment: Experiment, seed: int, tasks: Sequence[Task]) -> str | None:
    if reason := experiment.stale(record, seed):
        return f"left out: {reason}"
    return f"{FAILED}{record.reason}" if record.status == "failed" else fault(record, tasks)
