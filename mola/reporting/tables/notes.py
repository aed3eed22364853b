"""Lines under a table: what went wrong, one per row and reason, and which records are certified."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from mola.experiment.spec import Experiment
from mola.experiment.status import again
from mola.metrics import averageable, of, undefined
from mola.reporting.results.plateau import LIMIT, moves
from mola.reporting.results.read import Results
from mola.reporting.results.records import FAILED, Row
from mola.spans import spans


def notes(results: Results, reference: str | None) -> tuple[str, ...]:
    """What is certified, left out, failed, a draft, or not defined."""
    lines = [*certified(results.rows)]
    lines += [f"{row.label}, {line}" for row in results.rows for line in of_row(row)]
    lines += _undefined(results)
    if reference is not None:
        base = results.base(reference)
        if not base:
            lines.append(f"no finished run of the reference {reference}: no Δ")
        for task in results.tasks:
            for metric in of(task):
                values = {seed: record.test[task.name][metric.name] for seed, record in base.items()}
                if zeros := [seed for seed, value in values.items() if metric.undefined(value)]:
                    what = f"{task.name} {metric.words} is 0, so that Δ is not defined"
                    lines.append(f"{reference}, seeds {spans(zeros)}: {what}")
    return tuple(lines)


def _undefined(results: Results) -> Iterator[str]:
    """The metrics that the test split does not define: no value of them counts anywhere."""
    records = [record for row in results.rows for record in row.records.values()]
    for task in results.tasks:
        metrics = dict.fromkeys(m for r in records for m in undefined(task, r.test.get(task.name, {})))
        for metric in metrics:
            what = f"{task.name} {metric.words} is not defined on test, which lacks {metric.needs or 'targets'}"
            yield f"{what}: left out of averages and Δ"


def certified(rows: Sequence[Row]) -> tuple[str, ...]:
    """How many records of a row were not trained with the code of today, but certified: rows with one answer share a
    line, which names none where all rows have it.
    """
    lines = []
    for row in rows:
        by = Counter((r.certified.seed, r.certified.commit) for r in row.records.values() if r.certified)
        for (seed, commit), count in by.items():
            what = f"{count} of {len(row.records)} records certified by seed {seed} at {commit[:7]}"
            lines.append((row.label, what))
    return condensed(lines, [row.label for row in rows])


def of_row(row: Row) -> Iterator[str]:
    """What is left out, and what must be known of the rest (drafts, other versions): a line per reason."""
    reasons: dict[str, list[int]] = {}
    remarks = ((seed, remark) for seed, every in row.remarks.items() for remark in every)
    for seed, reason in [*row.problems.items(), *remarks]:
        reasons.setdefault(reason, []).append(seed)
    for reason, seeds in reasons.items():
        repeat = ""
        if reason.startswith(FAILED) and row.experiment:
            repeat = f"; again: {again(row.experiment, seeds, _suite_file(row.experiment))}"
        yield f"seeds {spans(seeds)}: {reason}{repeat}"


def _suite_file(experiment: Experiment) -> Path:
    """The configuration that the workflow leaves beside the results; without one the reader has to say which."""
    file = experiment.suite.folder / "config.yaml"
    return file if file.is_file() else Path("SUITE.yaml")


def moving(results: Results) -> Iterator[str]:
    """A line for every row whose mean over seeds has reached no plateau, with the seeds that have not; the noise of
    single runs gives none.
    """
    for label, values in _moving(results):
        seeds = spans([seed for seed, value in values.items() if not abs(value) < LIMIT])
        mean = statistics.fmean(values.values())
        points = f"{mean:+.1f} {'points' if averageable(results.tasks) else '%, near enough,'}".replace("-", "−")
        what = "no finite validation score" if math.isnan(mean) else f"still moving: {points}"
        yield f"{label}, seeds {seeds}: {what} over the last fifth of training, the mean of its seeds"


def moving_rows(results: Results) -> Iterator[str]:
    """The same in one line with the rows' names, if there are any."""
    if labels := [label for label, _ in _moving(results)]:
        yield f"still moving at the end of training: {', '.join(labels)}"


def _moving(results: Results) -> Iterator[tuple[str, dict[int, float]]]:
    for row in results.rows:
        values = moves(row.records, results.tasks)
        if values and not abs(statistics.fmean(values.values())) < LIMIT:
            yield row.label, values


def condensed(lines: Sequence[tuple[str, str]], every: Sequence[str] = ()) -> tuple[str, ...]:
    """(name, line) → lines; one that several share stands once, with their names, or with none if ``every`` has it."""
    names: dict[str, list[str]] = {}
    for name, line in lines:
        names.setdefault(line, []).append(name)
    return tuple(
        line if every and set(every) <= set(named) else f"{', '.join(named)}: {line}" for line, named in names.items()
    )
