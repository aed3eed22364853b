"""Columns of scores: metrics, their average, Δ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from mola.experiment.record import Record
from mola.metrics import Scores, averageable, of, ranking
from mola.metrics.metric import Metric
from mola.reporting.results.plateau import last_fifth
from mola.reporting.results.records import Row, pairs, score
from mola.reporting.statistics import delta_flat, delta_task
from mola.reporting.tables.layout import ARROWS, Column, estimate, of_records
from mola.types import Direction, Task

# name, formula, and which is better
DELTAS: tuple[tuple[str, Callable[[Scores, Scores, Sequence[Task]], float], Direction], ...] = (
    ("task", delta_task, "higher"),
    ("flat", delta_flat, "lower"),
)


def ranking_columns(rows: Sequence[Row], tasks: Sequence[Task]) -> list[Column]:
    """The ranking metric of every task, named after the task."""
    return [_measured(rows, task.name, task.name, task, ranking(task)) for task in tasks]


def metric_columns(rows: Sequence[Row], tasks: Sequence[Task]) -> list[Column]:
    """Every metric of every task, with its unit and an arrow towards the better."""
    return [
        _measured(rows, f"{t.name}_{m.name}", f"{t.name} {m.label} {ARROWS[m.better]}", t, m)
        for t in tasks
        for m in of(t)
    ]


def average_column(rows: Sequence[Row], tasks: Sequence[Task], key: str, title: str) -> Column:
    """Mean over tasks of the ranking metric, in percent; all of them fractions."""
    return of_records(rows, key, title, partial(score, tasks=tasks), better="higher")


def optimism_columns(rows: Sequence[Row], tasks: Sequence[Task]) -> list[Column]:
    """What selection on the test split gives, where records have it (DomainBed calls it oracle selection): the average,
    if there is one, and by how much it is better than the honest score, by seed.
    """
    if not any(record.oracle_selection for row in rows for record in row.records.values()):
        return []

    def oracle(record: Record) -> float | None:
        return score(record.oracle_selection, tasks) if record.oracle_selection else None

    def optimism(record: Record) -> float | None:
        value = oracle(record)
        return None if value is None else value - score(record, tasks)

    title = "average (oracle selection)"
    averages = [of_records(rows, "average_oracle_selection", title, oracle)] if averageable(tasks) else []
    return [*averages, of_records(rows, "optimism", "optimism", optimism, signed=True)]


def delta_columns(
    rows: Sequence[Row],
    base: Mapping[int, Record],
    tasks: Sequence[Task],
    reference: str | None,
    prefix: str = "",
    arrows: bool = False,
) -> list[Column]:
    """Δ_task, and Δ_flat where it is more than −Δ_task, of every seed that the reference row has too."""
    columns = []
    for name, formula, better in DELTAS[: 1 + weighs_metrics(tasks)]:
        gains = ([formula(a.test, b.test, tasks) for a, b in pairs(row.records, base)] for row in rows)
        estimates = tuple(None if r.label == reference else estimate(g) for r, g in zip(rows, gains, strict=True))
        key, title = f"{prefix.replace(' ', '_')}delta_{name}", f"{prefix}Δ_{name}{f' {ARROWS[better]}' * arrows}"
        columns.append(Column(key, title, estimates, better=better, signed=True))
    return columns


def plateau_column(rows: Sequence[Row], tasks: Sequence[Task]) -> Column:
    """By how much the score on valid rose over the last fifth of training."""
    return of_records(rows, "last_fifth", "last fifth", partial(last_fifth, tasks=tasks), signed=True)


def weighs_metrics(tasks: Sequence[Task]) -> bool:
    """Whether Δ_flat and Δ_task weigh tasks differently: their numbers of metrics differ."""
    return len({len(task.metrics) for task in tasks}) > 1


def _measured(rows: Sequence[Row], key: str, title: str, task: Task, metric: Metric) -> Column:
    def value(record: Record) -> float:
        return metric.unit.factor * record.test[task.name][metric.name]

    return of_records(rows, key, title, value, digits=metric.unit.digits, better=metric.better)
