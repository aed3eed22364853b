"""What the figures of a benchmark are drawn from: records, what probes saw, and what tuning left; and the values that
several of them show.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import pandas as pd

from mola.config import Suite
from mola.metrics import averageable, overall
from mola.reporting.results.analysis import probed, studied
from mola.reporting.results.read import Results, read_results
from mola.reporting.results.records import Row, pairs
from mola.reporting.statistics import delta_task, t_half_width
from mola.types import Task

# rows with intervals that can be told apart in one panel, and its title where it holds all
TOGETHER, ALL = 6, "all rows"


@dataclass(frozen=True)
class Source:
    """One benchmark of a suite."""

    suite: Suite
    benchmark: str
    results: Results

    @property
    def tasks(self) -> Sequence[Task]:
        """The benchmark's tasks, in their order."""
        return self.results.tasks

    @property
    def rows(self) -> Sequence[Row]:
        """The rows, with the records that count."""
        return self.results.rows

    @property
    def asked(self) -> int:
        """How many seeds every row should have."""
        return len(self.suite.seeds)

    @property
    def against(self) -> str | None:
        """The label of the row that differences are taken from: ``compare_to``, else the reference."""
        return self.suite.compare_to or self.suite.reference

    @cached_property
    def analyses(self) -> Mapping[str, Mapping[str, Any]]:
        """Label → what the probes saw in the suite's first seed; only of runs that count."""
        seed, analyses = self.suite.seeds[0], {}
        for row in self.rows:
            if row.experiment and seed in row.records:
                analysis = probed(row.experiment.run_folder(seed) / "analysis.json")
                if analysis.get("fingerprint") == row.records[seed].fingerprint.all:
                    analyses[row.label] = analysis
        return analyses

    def studies(self, name: str) -> Mapping[str, pd.DataFrame]:
        """Label → a table that its study wrote; only of studies whose result the runs train with now: finished, of the
        search and of the number of trials that the suite asks for.
        """
        paths = {row.label: row.experiment.study_folder / name for row in self.rows if row.experiment and row.tuning}
        tables = {label: studied(path) for label, path in paths.items()}
        return {label: table for label, table in tables.items() if table is not None}


def sources(suite: Suite, drafts: bool = False) -> list[Source]:
    """All benchmarks of the suite, with the records that its tables count."""
    return [Source(suite, name, results) for name, results in read_results(suite, drafts).items()]


def estimate(values: Sequence[float], asked: int) -> dict[str, Any]:
    """The columns that every table of results has."""
    mean = statistics.fmean(values) if values else math.nan
    return {"mean": mean, "ci95": t_half_width(values), "n": len(values), "asked": asked}


def row_groups(source: Source) -> Iterator[tuple[str, Sequence[Row]]]:
    """Title and rows of each panel of differences, without the row that they are taken from: all rows together, or
    where they are more than six those under each heading of the tables, at most six of them.
    """
    rows = [row for row in source.rows if row.label != source.against]
    if len(rows) <= TOGETHER:
        yield ALL, rows
        return
    for heading, grouped in groupby(rows, key=lambda row: row.group):
        under, title = list(grouped), heading or "rows"
        for start in range(0, len(under), TOGETHER):
            some = under[start : start + TOGETHER]
            yield title if len(some) == len(under) else f"{title}, {start + 1} to {start + len(some)}", some


def headline(source: Source) -> tuple[str, Mapping[str, list[float]]]:
    """What one number says best about a row: its name with its unit, and a value per label and seed.

    Δ_task where the reference row has runs, of the seeds that both have; else the average over tasks; else what
    selection looks at. The reference itself is 0 by definition.
    """
    reference, tasks = source.suite.reference, source.tasks
    if base := source.results.base(reference):
        return f"Δ_task over {reference} (%)", {
            row.label: [delta_task(a.test, b.test, tasks) for a, b in pairs(row.records, base)] for row in source.rows
        }
    name, factor = ("average over tasks (%)", 100) if averageable(tasks) else ("mean ±log(first metric)", 1)
    return name, {
        row.label: [factor * overall(record.test, tasks) for record in row.records.values()] for row in source.rows
    }
