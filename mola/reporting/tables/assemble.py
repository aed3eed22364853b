"""Tables: methods × metrics, with Δ against the reference row, and costs. A pure function of records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mola.metrics import averageable
from mola.reporting.results.read import Results, aligned
from mola.reporting.tables import captions
from mola.reporting.tables.cited import cited_columns, cited_notes
from mola.reporting.tables.columns import (
    average_column,
    delta_columns,
    metric_columns,
    optimism_columns,
    plateau_column,
    ranking_columns,
)
from mola.reporting.tables.costs import cost_columns, runs_column
from mola.reporting.tables.grid import grid_columns, grid_notes
from mola.reporting.tables.layout import Column, Table
from mola.reporting.tables.notes import condensed, moving, moving_rows, notes


def benchmark_table(name: str, results: Results, seeds: Sequence[int], reference: str | None) -> Table:
    """The table of one benchmark: test scores at the epoch that was selected on valid. For classes the ranking metric
    of every task; where there are tasks of other kinds every metric.
    """
    tasks, rows = results.tasks, results.rows
    base = results.base(reference)
    columns = (metric_columns if results.every_metric else ranking_columns)(rows, tasks)
    if averageable(tasks):
        columns.append(average_column(rows, tasks, "average", "average"))
    if base:
        columns += delta_columns(rows, base, tasks, reference, arrows=results.every_metric)
    cited = cited_columns(results.cited, results.labels, columns, f"paper_numbers: {name}")
    tried, edges = grid_columns(rows)
    columns += [*optimism_columns(rows, tasks), *cost_columns(rows), *tried, *runs_column(rows), *cited]
    caption = captions.of_benchmark(name, results, seeds, reference if base else None, columns)
    lines = [*results.remarks, *notes(results, reference), *moving(results), *grid_notes(rows)]
    lines += cited_notes(results.cited, results.labels)
    return Table(
        name, results.labels, tuple(columns), caption, tuple(lines), results.incomplete, results.groups,
        asked=len(seeds), csv_only=(*edges, plateau_column(rows, tasks)), drafts=results.drafts,
    )  # fmt: skip


def summary_table(suite: str, benchmarks: Mapping[str, Results], seeds: Sequence[int], reference: str | None) -> Table:
    """One row per method: on every benchmark its average, where the tasks have one, and its Δ.

    There is – where a row is not trained on a benchmark.
    """
    columns: list[Column] = []
    lines: list[tuple[str, str]] = []
    incomplete: frozenset[str] = frozenset()
    drafts: frozenset[str] = frozenset()
    every = aligned(benchmarks)
    for name, results in every.items():
        tasks, rows = results.tasks, results.rows
        if averageable(tasks):
            columns.append(average_column(rows, tasks, f"{name}_average", name))
        if base := results.base(reference):
            columns += delta_columns(rows, base, tasks, reference, f"{name} ")
        lines += [(name, line) for line in (*results.remarks, *notes(results, reference), *moving_rows(results))]
        incomplete |= results.incomplete
        drafts |= results.drafts
    caption = captions.of_summary(suite, benchmarks, seeds, reference)
    first = next(iter(every.values()))
    return Table(
        "summary", first.labels, tuple(columns), caption, condensed(lines), incomplete, first.groups,
        asked=len(seeds), drafts=drafts,
    )  # fmt: skip
