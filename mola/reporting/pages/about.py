"""What a reader must know about a suite's runs: how many, how long, on what, with which settings. From records."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from mola.config import Suite
from mola.experiment.record import Record
from mola.reporting.render.page import page
from mola.reporting.results.read import read_results
from mola.reporting.results.records import Row

STYLE = """
main {font: 15px/1.5 system-ui, sans-serif; color: #1b1b1b}
div {overflow-x: auto} pre {white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f6f6; padding: .7em}
table {border-collapse: collapse; font-variant-numeric: tabular-nums}
th, td {padding: .2em .7em; text-align: left; border-bottom: 1px solid #ddd; vertical-align: top}
td.number {text-align: right; white-space: nowrap}
""".strip()

NUMBERS = ("finished", "minutes a run", "ms/step", "peak memory (MiB)")


def about(suite: Suite, configuration: str, drafts: bool = False) -> str:
    """A page of HTML that asks for nothing outside itself.

    configuration: the text of the suite's file.
    """
    rows = [(name, row) for name, results in read_results(suite, drafts).items() for row in results.rows]
    records = [record for _, row in rows for record in row.records.values()]
    size = f"{len(suite.benchmarks)} benchmarks, {len(suite.methods)} methods, {len(suite.seeds)} seeds"
    finished = f"{len(records)} of {len(rows) * len(suite.seeds)} runs are finished: {size}."
    shown = _table(["", "found in the records"], surroundings(records))
    runs = [_runs(name, row, len(suite.seeds)) for name, row in rows]
    body = f"""<h1>Suite {escape(suite.suite)}</h1>
<p>{finished} Hours of training in all: {sum(map(_hours, records)):.2f}.</p>
<h2>Software and hardware</h2>
{shown}
<h2>Runs</h2>
{_table(["benchmark", "method", *NUMBERS, "not finished"], runs)}
<h2>Configuration</h2>
<pre>{escape(configuration)}</pre>"""
    return page(f"About suite {suite.suite}", body, STYLE)


def surroundings(records: Sequence[Record]) -> list[list[str]]:
    """What the runs may depend on outside the configuration; every value that occurs, the commonest first."""
    packages = sorted({package for record in records for package in record.versions})
    rows: dict[str, list[object]] = {
        "device": [record.device for record in records],
        "threads": [record.threads for record in records],
        "commit": [_commit(record) for record in records],
        "day": [record.time[:10] for record in records],
        **{package: [record.versions.get(package) for record in records] for package in packages},
    }
    return [[name, _counted(values)] for name, values in rows.items()]


def _commit(record: Record) -> str:
    return f"{str(record.commit)[:12]}{' with uncommitted changes' if record.dirty else ''}"


def _counted(values: Iterable[object]) -> str:
    counts = Counter(map(str, values)).most_common()
    return counts[0][0] if len(counts) == 1 else ", ".join(f"{value} ({number} runs)" for value, number in counts)


def _runs(benchmark: str, row: Row, asked: int) -> list[str]:
    records = row.records.values()
    minutes = [60 * _hours(record) for record in records]
    steps = [1000 * record.seconds_per_step for record in records if record.seconds_per_step]
    memory = [record.peak_memory_bytes / 2**20 for record in records if record.peak_memory_bytes]
    medians = [
        f"{statistics.median(values):.{digits}f}" if values else "–"
        for values, digits in ((minutes, 2), (steps, 0), (memory, 0))
    ]
    reasons = "; ".join(f"seed {seed}: {reason}" for seed, reason in row.problems.items())
    return [benchmark, row.label, f"{len(records)} of {asked}", *medians, reasons]


def _hours(record: Record) -> float:
    """Of training, from the curve: it knows of a run's part before an interruption too."""
    return sum(epoch.train_seconds for epoch in record.curve) / 3600


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["".join(f'<th scope="col">{escape(name)}</th>' for name in head)]
    for row in rows:
        classes = [' class="number"' if name in NUMBERS else "" for name in head]
        lines.append("".join(f"<td{kind}>{escape(value)}</td>" for kind, value in zip(classes, row, strict=True)))
    return '<div tabindex="0"><table>\n' + "\n".join(f"<tr>{line}</tr>" for line in lines) + "\n</table></div>"
