"""Write all tables of a suite: ``results/<suite>/tables/``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mola import registry
from mola.config import Suite
from mola.metrics import averageable, overall
from mola.reporting.records import collect
from mola.reporting.render import to_csv, to_latex, to_markdown
from mola.reporting.tables import Results, Table, benchmark_table, summary_table
from mola.types import Benchmark


def write_tables(suite: Suite) -> list[Path]:
    """One table per benchmark and the summary, each as CSV, Markdown and LaTeX; learning curves and headline
    numbers for DVC.
    """
    folder = suite.folder / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    found = {name: _results(suite, name) for name in suite.benchmarks}
    tables = {name: benchmark_table(name, results, suite.seeds, suite.reference) for name, results in found.items()}
    tables["summary"] = summary_table(suite.suite, found, suite.seeds, suite.reference)
    paths = []
    for name, table in tables.items():
        for ending, text in (("csv", to_csv(table)), ("md", to_markdown(table)), ("tex", to_latex(table))):
            paths.append(folder / f"{name}.{ending}")
            paths[-1].write_text(text)
    for name, results in found.items():
        paths.append(folder / f"{name}.curves.csv")
        _curves(results).to_csv(paths[-1], index=False, float_format="%.6g", lineterminator="\n")
    paths.append(folder / "metrics.json")
    paths[-1].write_text(
        json.dumps({name: _headline(table) for name, table in tables.items() if name != "summary"}, indent=1) + "\n"
    )
    return paths


def _results(suite: Suite, name: str) -> Results:
    options = registry.check_options("benchmarks", name, suite.benchmarks[name].options, f"benchmarks.{name}")
    benchmark: Benchmark = registry.load("benchmarks", name)(suite.data, **options)
    return Results(benchmark.tasks, collect(suite, name), benchmark.remarks(), benchmark.held_out)


def _curves(results: Results) -> pd.DataFrame:
    """epoch × method: what selection looks at on valid (``mola.metrics.overall``), mean over seeds; in percent where it
    is a mean of fractions.
    """
    factor = 100 if averageable(results.tasks) else 1
    series = {}
    for cell in results.cells:
        runs = [
            [factor * overall(_numbers(epoch["valid"]), results.tasks) for epoch in record["curve"]]
            for record in cell.records.values()
        ]
        series[cell.label] = pd.DataFrame(runs).mean() if runs else pd.Series(dtype=float)
    frame = pd.DataFrame(series)
    frame.insert(0, "epoch", frame.index + 1)
    return frame


def _numbers(scores: Mapping[str, Mapping[str, float | None]]) -> dict[str, dict[str, float]]:
    """JSON has no NaN: it stands there as null."""
    return {task: {m: math.nan if v is None else v for m, v in metrics.items()} for task, metrics in scores.items()}


def _headline(table: Table) -> dict[str, dict[str, float]]:
    columns = {column.key: column for column in table.columns if column.key in ("average", "delta_task", "delta_flat")}
    rows: dict[str, dict[str, float]] = {}
    for row, label in enumerate(table.labels):
        values = {key: column.estimates[row] for key, column in columns.items()}
        rows[label] = {key: round(e.mean, 4) for key, e in values.items() if e is not None and math.isfinite(e.mean)}
    return rows
