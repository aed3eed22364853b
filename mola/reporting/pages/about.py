"""What a reader must know about a suite's runs: how many, how long, on what, with which settings. From records."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from mola.config import Suite
from mola.reporting.results.records import Cell, Record
from mola.reporting.tables.write import read_results

STYLE = """
body {font: 15px/1.5 system-ui, sans-serif; margin: 1em; color: #1b1b1b; background: #fff}
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
    cells = {name: results.cells for name, results in read_results(suite, drafts).items()}
    records = [record for row in cells.values() for cell in row for record in cell.records.values()]
    asked = len(suite.benchmarks) * len(suite.methods) * len(suite.seeds)
    told = f"{len(records)} of {asked} runs are finished: {len(suite.benchmarks)} benchmarks × {len(suite.methods)} "
    told += f"methods × {len(suite.seeds)} seeds. Hours of training in all: {sum(map(_hours, records)):.2f}."
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">',
            f"<title>About suite {escape(suite.suite)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n<main>",
            f"<h1>Suite {escape(suite.suite)}</h1>\n<p>{escape(told)}</p>",
            "<h2>Software and hardware</h2>",
            _table(["", "found in the records"], _surroundings(records)),
            "<h2>Runs</h2>",
            _table(
                ["benchmark", "method", *NUMBERS, "not finished"],
                [_row(name, cell, len(suite.seeds)) for name, row in cells.items() for cell in row],
            ),
            f"<h2>Configuration</h2>\n<pre>{escape(configuration)}</pre>\n</main>\n</body>\n</html>\n",
        ]
    )


def _surroundings(records: Sequence[Record]) -> list[list[str]]:
    """What the runs may depend on outside the configuration; every value that occurs, the commonest first."""
    versions = sorted({package for record in records for package in record.get("versions", {})})
    rows: dict[str, list[object]] = {
        "device": [record.get("device") for record in records],
        "threads": [record.get("threads") for record in records],
        "commit": [_commit(record) for record in records],
        "day": [str(record.get("time", ""))[:10] for record in records],
        **{package: [record.get("versions", {}).get(package) for record in records] for package in versions},
    }
    return [[name, _counted(values)] for name, values in rows.items()]


def _commit(record: Record) -> str:
    return f"{str(record.get('commit'))[:12]}{' with uncommitted changes' if record.get('dirty') else ''}"


def _counted(values: Iterable[object]) -> str:
    found = Counter(map(str, values)).most_common()
    return found[0][0] if len(found) == 1 else ", ".join(f"{value} ({number} runs)" for value, number in found)


def _row(benchmark: str, cell: Cell, asked: int) -> list[str]:
    records = list(cell.records.values())
    steps = [1000 * r["seconds_per_step"] for r in records if r.get("seconds_per_step")]
    memory = [r["peak_memory_bytes"] / 2**20 for r in records if r.get("peak_memory_bytes")]
    numbers = [[60 * _hours(record) for record in records], steps, memory]
    medians = [
        f"{statistics.median(values):.{digits}f}" if values else "–"
        for values, digits in zip(numbers, (2, 0, 0), strict=True)
    ]
    reasons = "; ".join(f"seed {seed}: {reason}" for seed, reason in cell.problems.items())
    return [benchmark, cell.label, f"{len(records)} of {asked}", *medians, reasons]


def _hours(record: Record) -> float:
    """Of training, from the curve: it knows of a run's part before an interruption too."""
    return sum(float(epoch.get("train_seconds", 0)) for epoch in record.get("curve", [])) / 3600


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["".join(f'<th scope="col">{escape(name)}</th>' for name in head)]
    for row in rows:
        looks = [' class="number"' if name in NUMBERS else "" for name in head]
        lines.append("".join(f"<td{look}>{escape(cell)}</td>" for look, cell in zip(looks, row, strict=True)))
    return '<div tabindex="0"><table>\n' + "\n".join(f"<tr>{line}</tr>" for line in lines) + "\n</table></div>"
