"""Columns of scores: metrics, their average, Δ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from mola.experiment.record import OracleSelection, Record
from mola.metrics import UNITS, Unit, averageable, overall
from mola.reporting.results.records import Row
from mola.reporting.statistics import Directions, Values, delta_flat, delta_task
from mola.reporting.tables.estimates import ARROWS, Column, estimate, of_records
from mola.types import Direction, Task

SHOWN: Mapping[Unit, tuple[int, int, str]] = {  # factor, digits, how the title names the unit
    "fraction": (100, 2, " (%)"),
    "metres": (1, 4, " (m)"),
    "ratio": (1, 4, ""),
    "degrees": (1, 2, " (°)"),
}
CALLED = {
    "miou": "mIoU",
    "abs_error": "abs. error",
    "rel_error": "rel. error",
    "mean_angle": "mean",
    "median_angle": "median",
    "within_11": "within 11.25°",
    "within_22": "within 22.5°",
    "within_30": "within 30°",
}  # others: their name without underscores


def ranking_columns(rows: Sequence[Row], tasks: Sequence[Task]) -> list[Column]:
    """The ranking metric of every task, named after the task."""
    return [_measured(rows, t.name, t.name, t, *t.ranking) for t in tasks]


def metric_columns(rows: Sequence[Row], tasks: Sequence[Task]) -> list[Column]:
    """Every metric of every task, with its unit and an arrow towards the better."""
    return [
        _measured(
            rows, f"{task.name}_{metric}", f"{task.name} {_titled(metric)} {ARROWS[better]}", task, metric, better
        )
        for task in tasks
        for metric, better in task.metrics.items()
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


def score(scored: Record | OracleSelection, tasks: Sequence[Task]) -> float:
    """What ranks a run, × 100, on test: percent where it is a mean of fractions, else near to percent in differences
    (``mola.metrics.overall``).
    """
    return 100 * overall(scored.test, tasks)


def delta_columns(
    rows: Sequence[Row],
    base: Mapping[int, Record],
    tasks: Sequence[Task],
    reference: str | None,
    prefix: str = "",
    arrows: bool = False,
) -> list[Column]:
    """Δ_task, and Δ_flat where it is more than −Δ_task, of every seed that the reference row has too."""
    columns = [_delta(rows, base, tasks, reference, prefix, "task", delta_task, "higher", arrows)]
    if weighs_metrics(tasks):
        columns.append(_delta(rows, base, tasks, reference, prefix, "flat", delta_flat, "lower", arrows))
    return columns


def weighs_metrics(tasks: Sequence[Task]) -> bool:
    """Whether Δ_flat and Δ_task weigh tasks differently: their numbers of metrics differ."""
    return len({len(task.metrics) for task in tasks}) > 1


def _titled(metric: str) -> str:
    return CALLED.get(metric, metric.replace("_", " ")) + SHOWN[UNITS[metric]][2]


def _measured(rows: Sequence[Row], key: str, title: str, task: Task, metric: str, better: Direction) -> Column:
    factor, digits, _ = SHOWN[UNITS[metric]]
    value = partial(_score, task=task.name, metric=metric, factor=factor)
    return of_records(rows, key, title, value, digits=digits, better=better)


def _score(record: Record, task: str, metric: str, factor: int) -> float:
    return factor * record.test[task][metric]


def _delta(
    rows: Sequence[Row],
    base: Mapping[int, Record],
    tasks: Sequence[Task],
    reference: str | None,
    prefix: str,
    name: str,
    formula: Callable[[Values, Values, Directions], float],
    better: Direction,
    arrow: bool,
) -> Column:
    directions = {task.name: task.metrics for task in tasks}
    estimates = []
    for row in rows:
        pairs = [(record.test, base[seed].test) for seed, record in row.records.items() if seed in base]
        gains = [formula(a, b, directions) for a, b in pairs]
        estimates.append(None if row.label == reference else estimate(gains))
    title = f"{prefix}Δ_{name}{f' {ARROWS[better]}' if arrow else ''}"
    return Column(f"{prefix.replace(' ', '_')}delta_{name}", title, tuple(estimates), better=better, signed=True)
