"""Columns of scores: metrics, their average, Δ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from mola.metrics import Scores, averageable, of, overall, ranking
from mola.metrics.metric import Metric
from mola.reporting.results.records import Cell, Record
from mola.reporting.statistics import delta_flat, delta_task
from mola.reporting.tables.estimates import ARROWS, Column, estimate, of_records
from mola.types import Direction, Task


def ranking_columns(cells: Sequence[Cell], tasks: Sequence[Task]) -> list[Column]:
    """The ranking metric of every task, named after the task."""
    return [_measured(cells, task.name, task.name, task, ranking(task)) for task in tasks]


def metric_columns(cells: Sequence[Cell], tasks: Sequence[Task]) -> list[Column]:
    """Every metric of every task, with its unit and an arrow towards the better."""
    return [
        _measured(cells, f"{t.name}_{m.name}", f"{t.name} {m.label} {ARROWS[m.better]}", t, m)
        for t in tasks
        for m in of(t)
    ]


def average_column(cells: Sequence[Cell], tasks: Sequence[Task], key: str, title: str) -> Column:
    """Mean over tasks of the ranking metric, in percent; all of them fractions."""
    return of_records(cells, key, title, partial(score, tasks=tasks), better="higher")


def optimism_columns(cells: Sequence[Cell], tasks: Sequence[Task]) -> list[Column]:
    """What the released code's rule of selection gives, where records tell it: the average, if there is one, and how
    much it is better than ours, by seed.
    """
    if not any(record.get("oracle_selection") for cell in cells for record in cell.records.values()):
        return []

    def theirs(record: Record) -> float | None:
        return score(record["oracle_selection"], tasks) if record.get("oracle_selection") else None

    def optimism(record: Record) -> float | None:
        found = theirs(record)
        return None if found is None else found - score(record, tasks)

    shown = (
        [of_records(cells, "average_oracle_selection", "average (paper's rule)", theirs)] if averageable(tasks) else []
    )
    return [*shown, of_records(cells, "optimism", "optimism", optimism, signed=True)]


def score(record: Record, tasks: Sequence[Task]) -> float:
    """What ranks a run, × 100, on test: percent where it is a mean of fractions, else near to percent in differences
    (``mola.metrics.overall``).
    """
    return 100 * overall(record["test"], tasks)


def delta_columns(
    cells: Sequence[Cell],
    base: Mapping[int, Record],
    tasks: Sequence[Task],
    reference: str | None,
    prefix: str = "",
    arrows: bool = False,
) -> list[Column]:
    """Δ_task, and Δ_flat where it is more than −Δ_task, of every seed that the reference row has too."""
    columns = [_delta(cells, base, tasks, reference, prefix, "task", delta_task, "higher", arrows)]
    if weighs_metrics(tasks):
        columns.append(_delta(cells, base, tasks, reference, prefix, "flat", delta_flat, "lower", arrows))
    return columns


def weighs_metrics(tasks: Sequence[Task]) -> bool:
    """Whether Δ_flat and Δ_task weigh tasks differently: their numbers of metrics differ."""
    return len({len(task.metrics) for task in tasks}) > 1


def _measured(cells: Sequence[Cell], key: str, title: str, task: Task, metric: Metric) -> Column:
    value = partial(_score, task=task.name, metric=metric)
    return of_records(cells, key, title, value, digits=metric.unit.digits, better=metric.better)


def _score(record: Record, task: str, metric: Metric) -> float:
    return metric.unit.factor * float(record["test"][task][metric.name])


def _delta(
    cells: Sequence[Cell],
    base: Mapping[int, Record],
    tasks: Sequence[Task],
    reference: str | None,
    prefix: str,
    name: str,
    formula: Callable[[Scores, Scores, Sequence[Task]], float],
    better: Direction,
    arrow: bool,
) -> Column:
    estimates = []
    for cell in cells:
        pairs = [(r["test"], base[seed]["test"]) for seed, r in cell.records.items() if seed in base]
        own = cell.label == reference
        estimates.append(None if own else estimate([formula(a, b, tasks) for a, b in pairs]))
    title = f"{prefix}Δ_{name}{f' {ARROWS[better]}' if arrow else ''}"
    return Column(f"{prefix.replace(' ', '_')}delta_{name}", title, tuple(estimates), better=better, signed=True)
