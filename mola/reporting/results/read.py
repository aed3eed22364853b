"""All results of a suite, benchmark by benchmark: what its tables and figures are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mola.config import Suite
from mola.experiment.record import Record
from mola.experiment.spec import Experiment, experiments
from mola.metrics.kinds import KINDS
from mola.reporting.results.cited import Cited, cited
from mola.reporting.results.records import Row, collect
from mola.types import Task


@dataclass(frozen=True)
class Results:
    """What a benchmark's table is made from.

    remarks:  what a reader must know of the data that the runs were made on, see ``Benchmark.remarks``.
    held_out: whether the epoch is selected on images that no table reports.
    cited:    numbers that others published.
    name:     of the benchmark, which its label in the suite may differ from; two entries of one name have it in common.
    single_input: whether every image has every task.
    """

    tasks: Sequence[Task]
    rows: Sequence[Row]
    remarks: Sequence[str] = ()
    held_out: bool = True
    cited: Cited | None = None
    name: str = ""
    single_input: bool = False

    @property
    def dense(self) -> bool:
        """Whether some task is a dense one."""
        return any(KINDS[task.kind].dense for task in self.tasks)

    @property
    def every_metric(self) -> bool:
        """Whether tables show every metric of every task, and not the first ones alone."""
        return any(KINDS[task.kind].every for task in self.tasks)

    @property
    def labels(self) -> tuple[str, ...]:
        """The rows' labels."""
        return tuple(row.label for row in self.rows)

    @property
    def groups(self) -> tuple[str | None, ...]:
        """The rows' headings."""
        return tuple(row.group for row in self.rows)

    @property
    def incomplete(self) -> frozenset[str]:
        """Labels of the rows that lack seeds."""
        return frozenset(row.label for row in self.rows if not row.complete)

    @property
    def drafts(self) -> frozenset[str]:
        """Labels of the rows with runs of code that is in no commit."""
        return frozenset(row.label for row in self.rows if row.is_draft)

    def base(self, reference: str | None) -> Mapping[int, Record]:
        """The records of the reference row, by seed."""
        return next((row.records for row in self.rows if row.label == reference), {})


def read_results(suite: Suite, drafts: bool = False) -> dict[str, Results]:
    """Label of each benchmark → its results. Raises BadInput.

    drafts: also take runs of code that is in no commit.
    """
    numbers = cited(suite.paper_numbers)
    benchmarks: dict[str, list[Experiment]] = {}
    for experiment in experiments(suite):
        benchmarks.setdefault(experiment.benchmark, []).append(experiment)
    return {name: _results(rows, numbers.get(name), drafts) for name, rows in benchmarks.items()}


def aligned(benchmarks: Mapping[str, Results]) -> dict[str, Results]:
    """The same results, all with the same rows in the suite's order, groups together: a row that is not trained on a
    benchmark is empty there.
    """
    groups: dict[str, str | None] = {}
    for results in benchmarks.values():
        groups |= {row.label: row.group for row in results.rows}
    suites = (row.experiment.suite for results in benchmarks.values() for row in results.rows if row.experiment)
    suite = next(suites, None)
    order = [label for label in suite.methods if label in groups] if suite else list(groups)
    headings = list(dict.fromkeys(groups[label] for label in order))
    labels = sorted(order, key=lambda label: headings.index(groups[label]))
    every = {}
    for name, results in benchmarks.items():
        rows = {row.label: row for row in results.rows}
        every[name] = replace(
            results, rows=[rows.get(label, Row(label, {}, {}, group=groups[label])) for label in labels]
        )
    return every


def _results(experiments: Sequence[Experiment], numbers: Cited | None, drafts: bool) -> Results:
    data = experiments[0].data
    rows = collect(experiments, data.tasks, drafts)
    records = [record for row in rows for record in row.records.values()]
    # of the data that the runs saw, not of what lies in the folder today
    remarks = tuple(dict.fromkeys(line for record in records for line in record.remarks))
    remarks = remarks if records else data.remarks()
    name, single_input = experiments[0].configured.benchmark, data.heterogeneity == "single-input task"
    return Results(data.tasks, rows, remarks, data.held_out, numbers, name, single_input)
