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

# key of a column → how DVC's tables name it behind the benchmark
HEADLINE = {"average": "", "delta_task": " Δ", "delta_flat": " Δ_flat"}


def write_tables(suite: Suite, drafts: bool = False) -> list[Path]:
    """For each benchmark and the summary a table and its tests, each as CSV, Markdown, LaTeX and HTML; learning curves,
    a row's headline numbers for DVC, and what a critical-difference diagram shows. Raises BadInput, with nothing
    written, where no run counts or has failed.

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
    texts |= {f"metrics/{label}.json": text for label, text in _metrics(suite, finished).items()}
    difference = critical_of(benchmarks)
    shown = {"shown": difference.reason is None, **asdict(difference)}
    texts["critical-difference.json"] = json.dumps(shown, indent=1) + "\n"
    paths = {suite.folder / "tables" / name: text for name, text in texts.items()}
    for path, text in paths.items():
        write_text(path, text)
    _remove_older(suite.folder / "tables", paths)
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


def _metrics(suite: Suite, finished: Mapping[str, Table]) -> dict[str, str]:
    """Row → its headline numbers of every benchmark as JSON: DVC shows a file in a line, its numbers in columns."""
    metrics: dict[str, dict[str, float]] = {label: {} for label in suite.methods}
    for name in suite.benchmarks:
        for column in finished[name].columns:
            for label, estimate in zip(finished[name].labels, column.estimates, strict=True):
                if column.key in HEADLINE and estimate is not None and math.isfinite(estimate.mean):
                    # "+ 0" makes 0 of −0
                    metrics[label][f"{name}{HEADLINE[column.key]}"] = round(estimate.mean, 2) + 0.0
    return {label: json.dumps(numbers, indent=1, ensure_ascii=False) + "\n" for label, numbers in metrics.items()}


def _remove_older(folder: Path, written: Mapping[Path, str]) -> None:
    """Remove the tables of benchmarks and the numbers of rows that the suite no longer has: none outlives its data.
    What is no table of ours stays.
    """
    for path in folder.glob("metrics/*.json"):
        if path not in written:
            path.unlink()
    kinds = ("", ".tests", ".answer")
    for tests in folder.glob("*.tests.csv"):
        name = tests.name.removesuffix(".tests.csv")
        names = [f"{name}{kind}.{ending}" for kind in kinds for ending in RENDERERS] + [f"{name}.curves.csv"]
        for path in map(folder.joinpath, names):
            if path not in written:
                path.unlink(missing_ok=True)
