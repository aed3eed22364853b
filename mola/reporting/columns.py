"""Columns of the tables: an estimate per method, from its records."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from mola.metrics import UNITS, Unit
from mola.reporting.records import Cell, Record
from mola.reporting.statistics import Directions, Values, delta_flat, delta_task, t_half_width
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
ARROWS: Mapping[Direction, str] = {"higher": "↑", "lower": "↓"}


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds with its 95 % t half-width."""

    mean: float
    half_width: float
    n: int


@dataclass(frozen=True)
class Column:
    """A column of numbers: an estimate per row, or None where there is nothing to show."""

    key: str  # in the CSV
    title: str
    estimates: tuple[Estimate | None, ...]
    digits: int = 2
    better: Literal["higher", "lower"] | None = None  # None: no best is marked
    signed: bool = False
    interval: bool = True


def estimate(values: Sequence[float]) -> Estimate | None:
    """None for no values; NaN half-width for one."""
    return Estimate(statistics.fmean(values), t_half_width(values), len(values)) if values else None


def ranking_columns(cells: Sequence[Cell], tasks: Sequence[Task]) -> list[Column]:
    """The ranking metric of every task, named after the task."""
    return [_measured(cells, t.name, t.name, t, *t.ranking) for t in tasks]


def metric_columns(cells: Sequence[Cell], tasks: Sequence[Task]) -> list[Column]:
    """Every metric of every task, with its unit and an arrow towards the better."""
    return [
        _measured(
            cells, f"{task.name}_{metric}", f"{task.name} {_titled(metric)} {ARROWS[better]}", task, metric, better
        )
        for task in tasks
        for metric, better in task.metrics.items()
    ]


def average_column(cells: Sequence[Cell], tasks: Sequence[Task], key: str, title: str) -> Column:
    """Mean over tasks of the ranking metric, in percent; all of them fractions."""

    def average(record: Record) -> float:
        return statistics.fmean(100 * float(record["test"][task.name][task.ranking[0]]) for task in tasks)

    return _column(cells, key, title, average, better="higher")


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


def cost_columns(cells: Sequence[Cell]) -> list[Column]:
    """Parameters, operations and time."""
    return [
        _column(cells, "parameters_inference", "params (M)", _parameters, interval=False),
        _column(cells, "gflops_per_sample", "GFLOPs", _gflops, digits=3, interval=False),
        _column(cells, "milliseconds_per_step", "ms/step", _milliseconds, digits=0, interval=False),
    ]


def _titled(metric: str) -> str:
    return CALLED.get(metric, metric.replace("_", " ")) + SHOWN[UNITS[metric]][2]


def _measured(cells: Sequence[Cell], key: str, title: str, task: Task, metric: str, better: Direction) -> Column:
    factor, digits, _ = SHOWN[UNITS[metric]]
    value = partial(_score, task=task.name, metric=metric, factor=factor)
    return _column(cells, key, title, value, digits=digits, better=better)


def _score(record: Record, task: str, metric: str, factor: int) -> float:
    return factor * float(record["test"][task][metric])


def _delta(
    cells: Sequence[Cell],
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
    for cell in cells:
        pairs = [(r["test"], base[seed]["test"]) for seed, r in cell.records.items() if seed in base]
        own = cell.label == reference
        estimates.append(None if own else estimate([formula(a, b, directions) for a, b in pairs]))
    title = f"{prefix}Δ_{name}{f' {ARROWS[better]}' if arrow else ''}"
    return Column(f"{prefix.replace(' ', '_')}delta_{name}", title, tuple(estimates), better=better, signed=True)


def _parameters(record: Record) -> float:
    return float(record["parameters"]["inference"]) / 1e6


def _gflops(record: Record) -> float:
    return float(record["flops_per_sample"]) / 1e9


def _milliseconds(record: Record) -> float:
    return 1000 * float(record["seconds_per_step"])


def _column(cells: Sequence[Cell], key: str, title: str, value: Callable[[Record], float], **looks: object) -> Column:
    return Column(key, title, tuple(estimate([value(r) for r in cell.records.values()]) for cell in cells), **looks)  # type: ignore[arg-type]
