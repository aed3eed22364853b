"""Write all tables of a suite: ``results/<suite>/tables/``."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from mola.config import Suite
from mola.files import write_text
from mola.reporting.render import RENDERERS, csv_text
from mola.reporting.results.curves import curves
from mola.reporting.results.read import Results, read_results
from mola.reporting.tables.answer import answer_table, in_words
from mola.reporting.tables.assemble import benchmark_table, summary_table
from mola.reporting.tables.layout import Table
from mola.reporting.tables.ranking import critical_of, ranking_table
from mola.reporting.tables.significance import tests_table
from mola.terminal import say
from mola.types import BadInput


def write_tables(suite: Suite, drafts: bool = False) -> list[Path]:
    """For each benchmark and the summary a table and its tests, each as CSV, Markdown, LaTeX and HTML; learning curves,
    headline numbers for DVC, and what a critical-difference diagram shows. Raises BadInput, with nothing written, where
    no run counts or has failed.

    drafts: also take runs of code that is in no commit, and say so.
    """
    benchmarks = read_results(suite, drafts)
    _check_any(suite, benchmarks)
    finished = tables(suite, benchmarks)
    texts = {f"{name}.{ending}": r(table) for name, table in finished.items() for ending, r in RENDERERS.items()}
    for name, results in benchmarks.items():
        if missing := sum(len(row.problems) for row in results.rows):
            say(f"{name}: {missing} of {len(results.rows) * len(suite.seeds)} runs are not in; {name}.md tells why")
        texts[f"{name}.curves.csv"] = csv_text(curves(results))
    texts["metrics.json"] = json.dumps({name: _headline(finished[name]) for name in benchmarks}, indent=1) + "\n"
    difference = critical_of(benchmarks)
    shown = {"shown": difference.reason is None, **asdict(difference)}
    texts["critical-difference.json"] = json.dumps(shown, indent=1) + "\n"
    paths = {suite.folder / "tables" / name: text for name, text in texts.items()}
    for path, text in paths.items():
        write_text(path, text)
    return list(paths)


def tables(suite: Suite, benchmarks: Mapping[str, Results]) -> dict[str, Table]:
    """``<benchmark>``, ``<benchmark>.tests``, ``summary`` and ``summary.tests``; where the suite has answers to choose
    among, ``<benchmark>.answer``.
    """
    finished: dict[str, Table] = {}
    base = suite.compare_to or suite.reference
    for name, results in benchmarks.items():
        finished[name] = benchmark_table(name, results, suite.seeds, suite.reference)
        finished[f"{name}.tests"] = tests_table(name, results, base)
        if suite.answers:
            finished[f"{name}.answer"] = answer_table(name, results, suite.answers)
    summary = summary_table(suite.suite, benchmarks, suite.seeds, suite.reference)
    finished["summary"] = replace(summary, notes=(*in_words(benchmarks, suite.answers), *summary.notes))
    finished["summary.tests"] = ranking_table(benchmarks, suite.reference, base)
    return finished


def _check_any(suite: Suite, benchmarks: Mapping[str, Results]) -> None:
    """Raise BadInput where no run counts and none has failed: empty tables would only take the place of good ones."""
    rows = [row for results in benchmarks.values() for row in results.rows]
    reasons = Counter(reason for row in rows for reason in row.problems.values())
    if any(row.records for row in rows) or any(reason.startswith("failed") for reason in reasons):
        return
    commonest, number = reasons.most_common(1)[0]
    raise BadInput(
        f"{suite.folder}: expected a run that counts, found none of {sum(reasons.values())}: {number} {commonest}; "
        "tables are left as they are, mola status says more"
    )


def _headline(table: Table) -> dict[str, dict[str, float]]:
    columns = {column.key: column for column in table.columns if column.key in ("average", "delta_task", "delta_flat")}
    rows: dict[str, dict[str, float]] = {}
    for row, label in enumerate(table.labels):
        values = {key: column.estimates[row] for key, column in columns.items()}
        rows[label] = {key: round(e.mean, 4) for key, e in values.items() if e is not None and math.isfinite(e.mean)}
    return rows
