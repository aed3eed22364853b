"""Write all tables of a suite: ``results/<suite>/tables/``."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mola import registry
from mola.config import Suite
from mola.reporting.records import Cell, collect
from mola.reporting.render import to_csv, to_latex, to_markdown
from mola.reporting.tables import Table, benchmark_table, summary_table
from mola.types import Benchmark, Task


def write_tables(suite: Suite) -> list[Path]:
    """One table per benchmark and the summary, each as CSV, Markdown and LaTeX; learning curves and headline
    numbers for DVC.
    """
    folder = suite.folder / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    benchmarks = {name: _benchmark(suite, name) for name in suite.benchmarks}
    remarks = {name: benchmark.remarks() for name, benchmark in benchmarks.items()}
    found = {name: (benchmark.tasks, collect(suite, name)) for name, benchmark in benchmarks.items()}
    tables = {
        name: benchmark_table(name, tasks, cells, suite.seeds, suite.reference, remarks[name])
        for name, (tasks, cells) in found.items()
    }
    tables["summary"] = summary_table(suite.suite, found, suite.seeds, suite.reference, remarks)
    paths = []
    for name, table in tables.items():
        for ending, text in (("csv", to_csv(table)), ("md", to_markdown(table)), ("tex", to_latex(table))):
            paths.append(folder / f"{name}.{ending}")
            paths[-1].write_text(text)
    for name, (tasks, cells) in found.items():
        paths.append(folder / f"{name}.curves.csv")
        _curves(tasks, cells).to_csv(paths[-1], index=False, float_format="%.6g", lineterminator="\n")
    paths.append(folder / "metrics.json")
    paths[-1].write_text(
        json.dumps({name: _headline(table) for name, table in tables.items() if name != "summary"}, indent=1) + "\n"
    )
    return paths


def _benchmark(suite: Suite, name: str) -> Benchmark:
    """With its options, as they decide over the remarks; the data need not be there."""
    options = registry.check_options("benchmarks", name, suite.benchmarks[name].options, f"benchmarks.{name}")
    made: Benchmark = registry.load("benchmarks", name)(suite.data, **options)
    return made


def _curves(tasks: Sequence[Task], cells: Sequence[Cell]) -> pd.DataFrame:
    """epoch × method: validation score in percent, averaged over tasks and seeds."""
    series = {}
    for cell in cells:
        runs = [
            [100 * statistics.fmean(_number(e["valid"][t.name][t.ranking[0]]) for t in tasks) for e in r["curve"]]
            for r in cell.records.values()
        ]
        series[cell.label] = pd.DataFrame(runs).mean() if runs else pd.Series(dtype=float)
    frame = pd.DataFrame(series)
    frame.insert(0, "epoch", frame.index + 1)
    return frame


def _number(value: float | None) -> float:
    return math.nan if value is None else value  # JSON has no NaN


def _headline(table: Table) -> dict[str, dict[str, float]]:
    columns = {column.key: column for column in table.columns if column.key in ("average", "delta_task")}
    rows: dict[str, dict[str, float]] = {}
    for row, label in enumerate(table.labels):
        values = {key: column.estimates[row] for key, column in columns.items()}
        rows[label] = {key: round(e.mean, 4) for key, e in values.items() if e is not None and math.isfinite(e.mean)}
    return rows
