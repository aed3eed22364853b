"""Write all tables of a suite: ``results/<suite>/tables/``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from mola import registry
from mola.config import Suite
from mola.terminal import say
from mola.reporting.render import RENDERERS
from mola.reporting.results.cited import Cited, cited
from mola.reporting.results.curves import curves
from mola.reporting.results.records import collect
from mola.reporting.tables.assemble import benchmark_table, summary_table
from mola.reporting.tables.layout import Results, Table
from mola.reporting.tables.ranking import critical_as_json, critical_of, ranking_table
from mola.reporting.tables.significance import tests_table
from mola.types import BadInput, Benchmark


def write_tables(suite: Suite, drafts: bool = False) -> list[Path]:
    """For each benchmark and the summary a table and its tests, each as CSV, Markdown, LaTeX and HTML; learning curves,
    headline numbers for DVC, and what a critical-difference diagram shows. Raises BadInput.

    drafts: also take runs of code that is in no commit, and say so.
    """
    folder = suite.folder / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    found = read_results(suite, drafts)
    paths = []

    def write(name: str, text: str) -> None:
        paths.append(folder / name)
        paths[-1].write_text(text)

    made = tables(suite, found)
    for name, table in made.items():
        for ending, render in RENDERERS.items():
            write(f"{name}.{ending}", render(table))
    for name, results in found.items():
        if lost := sum(len(cell.problems) for cell in results.cells):
            say(f"{name}: {lost} of {len(suite.methods) * len(suite.seeds)} runs are not in; {name}.md tells why")
        write(f"{name}.curves.csv", curves(results).to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    write("metrics.json", json.dumps({name: _headline(made[name]) for name in found}, indent=1) + "\n")
    write("critical-difference.json", json.dumps(critical_as_json(critical_of(found)), indent=1) + "\n")
    return paths


def read_results(suite: Suite, drafts: bool = False) -> dict[str, Results]:
    """What the tables of each benchmark are made from."""
    numbers = cited(suite)
    return {name: _results(suite, name, numbers, drafts) for name in suite.benchmarks}


def tables(suite: Suite, found: Mapping[str, Results]) -> dict[str, Table]:
    """``<benchmark>``, ``<benchmark>.tests``, ``summary`` and ``summary.tests``."""
    made: dict[str, Table] = {}
    base = suite.compare_to or suite.reference
    for name, results in found.items():
        made[name] = benchmark_table(name, results, suite.seeds, suite.reference)
        made[f"{name}.tests"] = tests_table(name, results, base)
    made["summary"] = summary_table(suite.suite, found, suite.seeds, suite.reference)
    made["summary.tests"] = ranking_table(found, suite.reference, base)
    return made


def _results(suite: Suite, name: str, numbers: Mapping[str, Cited], drafts: bool) -> Results:
    options = registry.check_options("benchmarks", name, suite.benchmarks[name].options, f"benchmarks.{name}")
    benchmark: Benchmark = registry.create("benchmarks", name, suite.data, options=options)
    cells = collect(suite, name, benchmark.tasks, _identity(benchmark), drafts)
    told = [record["remarks"] for cell in cells for record in cell.records.values() if "remarks" in record]
    # of the data that the runs saw, not of what lies in the folder today
    remarks = tuple(dict.fromkeys(line for lines in told for line in lines)) if told else benchmark.remarks()
    return Results(benchmark.tasks, cells, remarks, benchmark.held_out, numbers.get(name))


def _identity(benchmark: Benchmark) -> str | None:
    """None where the data is not prepared here: tables need records alone."""
    try:
        return benchmark.identity
    except BadInput:
        return None


def _headline(table: Table) -> dict[str, dict[str, float]]:
    columns = {column.key: column for column in table.columns if column.key in ("average", "delta_task", "delta_flat")}
    rows: dict[str, dict[str, float]] = {}
    for row, label in enumerate(table.labels):
        values = {key: column.estimates[row] for key, column in columns.items()}
        rows[label] = {key: round(e.mean, 4) for key, e in values.items() if e is not None and math.isfinite(e.mean)}
    return rows
