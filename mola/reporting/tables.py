"""Tables: methods × tasks, with the average, Δ against the reference row, and costs. A pure function of records."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from mola.reporting.records import Cell, Record
from mola.reporting.statistics import delta_task, t_half_width
from mola.types import Task


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


@dataclass(frozen=True)
class Table:
    """Rows of labels, columns of numbers, and what a reader must know."""

    title: str
    labels: tuple[str, ...]
    columns: tuple[Column, ...]
    caption: str
    notes: tuple[str, ...]
    incomplete: frozenset[str] = frozenset()  # rows that lack seeds: marked, and never best


def estimate(values: Sequence[float]) -> Estimate | None:
    """None for no values; NaN half-width for one."""
    return Estimate(statistics.fmean(values), t_half_width(values), len(values)) if values else None


def benchmark_table(
    name: str,
    tasks: Sequence[Task],
    cells: Sequence[Cell],
    seeds: Sequence[int],
    reference: str | None,
    remarks: Sequence[str] = (),
) -> Table:
    """The table of one benchmark: test scores in percent at the epoch that was selected on valid. remarks: what the
    benchmark says about its data.
    """
    base = _base(cells, reference)
    columns = [_column(cells, t.name, t.name, partial(score, task=t), better=t.ranking[1]) for t in tasks]
    columns.append(_column(cells, "average", "average", partial(average, tasks=tasks), better="higher"))
    if base:
        columns.append(_delta(cells, base, tasks, reference))
    columns += [
        _column(cells, "parameters_inference", "params (M)", _parameters, interval=False),
        _column(cells, "gflops_per_sample", "GFLOPs", _gflops, digits=3, interval=False),
        _column(cells, "milliseconds_per_step", "ms/step", _milliseconds, digits=0, interval=False),
    ]
    metrics = " and ".join(dict.fromkeys(task.ranking[0] for task in tasks))
    caption = (
        f"{name}: test {metrics} (%), {_interval(seeds)}. The epoch is selected on the validation split; "
        "the test split is read once, after that. Best in bold, second best underlined. "
    )
    if base:
        told = ", ".join(dict.fromkeys(metric.replace("_", " ") for task in tasks for metric in task.metrics))
        caption += f"Δ_task: mean relative gain over {reference} with the same seed, in percent, over {told}. "
    caption += (
        "params: parameters that a prediction depends on; GFLOPs: forward, per image of a small batch; "
        "ms/step: one training step on the machine of the run."
    )
    incomplete = frozenset(cell.label for cell in cells if not cell.complete)
    return Table(name, _labels(cells), tuple(columns), caption, (*remarks, *notes(cells, reference)), incomplete)


def summary_table(
    suite: str,
    benchmarks: Mapping[str, tuple[Sequence[Task], Sequence[Cell]]],
    seeds: Sequence[int],
    reference: str | None,
    remarks: Mapping[str, Sequence[str]] | None = None,
) -> Table:
    """One row per method: its average and Δ_task on every benchmark. remarks: as of ``benchmark_table``, by name."""
    columns, told, incomplete = [], [], set()
    for name, (tasks, cells) in benchmarks.items():
        columns.append(_column(cells, f"{name}_average", name, partial(average, tasks=tasks), better="higher"))
        if base := _base(cells, reference):
            columns.append(_delta(cells, base, tasks, reference, f"{name} "))
        told += [f"{name}, {note}" for note in (*(remarks or {}).get(name, ()), *notes(cells, reference))]
        incomplete |= {cell.label for cell in cells if not cell.complete}
    caption = (
        f"Suite {suite}: test score (%) averaged over the tasks of each benchmark, and Δ_task against {reference}; "
        f"{_interval(seeds)}; epochs selected on the validation split."
    )
    labels = _labels(next(iter(benchmarks.values()))[1])
    return Table("summary", labels, tuple(columns), caption, tuple(told), frozenset(incomplete))


def score(record: Record, task: Task) -> float:
    """The task's ranking metric on test, in percent."""
    return 100 * float(record["test"][task.name][task.ranking[0]])


def average(record: Record, tasks: Sequence[Task]) -> float:
    """Mean over tasks of the ranking metric on test, in percent."""
    return statistics.fmean(score(record, task) for task in tasks)


def marks(table: Table, column: Column) -> dict[int, Literal["best", "second"]]:
    """Row → mark. Equal means share a mark; rows that lack seeds compete for none."""
    if column.better is None:
        return {}
    sign = 1 if column.better == "higher" else -1
    scores = {
        row: sign * round(value.mean, column.digits)
        for row, value in enumerate(column.estimates)
        if value is not None and math.isfinite(value.mean) and table.labels[row] not in table.incomplete
    }
    levels = sorted(set(scores.values()), reverse=True)
    names: tuple[Literal["best"], Literal["second"]] = ("best", "second")
    if len(scores) < 2:
        return {}
    return {row: names[levels.index(score)] for row, score in scores.items() if score in levels[:2]}


def notes(cells: Sequence[Cell], reference: str | None) -> tuple[str, ...]:
    """What went wrong, one line per cell and reason; dirty records are named too."""
    lines = []
    for cell in cells:
        reasons: dict[str, list[int]] = {}
        for seed, reason in cell.problems.items():
            reasons.setdefault(reason, []).append(seed)
        lines += [f"{cell.label}, seeds {_spans(numbers)}: {reason}" for reason, numbers in reasons.items()]
        if unclean := [seed for seed, record in cell.records.items() if record["dirty"]]:
            lines.append(f"{cell.label}, seeds {_spans(unclean)}: trained from a working tree with uncommitted changes")
    if reference is not None and not any(cell.records for cell in cells if cell.label == reference):
        lines.append(f"no finished run of the reference {reference}: no Δ")
    return tuple(lines)


def _base(cells: Sequence[Cell], reference: str | None) -> Mapping[int, Record]:
    """The records of the reference row, by seed."""
    return next((cell.records for cell in cells if cell.label == reference), {})


def _delta(
    cells: Sequence[Cell], base: Mapping[int, Record], tasks: Sequence[Task], reference: str | None, prefix: str = ""
) -> Column:
    """Δ_task of every seed that the reference row has too."""
    directions = {task.name: task.metrics for task in tasks}
    estimates = []
    for cell in cells:
        pairs = [(r["test"], base[seed]["test"]) for seed, r in cell.records.items() if seed in base]
        own = cell.label == reference
        estimates.append(None if own else estimate([delta_task(a, b, directions) for a, b in pairs]))
    key = f"{prefix.replace(' ', '_')}delta_task"
    return Column(key, f"{prefix}Δ_task", tuple(estimates), better="higher", signed=True)


def _parameters(record: Record) -> float:
    return float(record["parameters"]["inference"]) / 1e6


def _gflops(record: Record) -> float:
    return float(record["flops_per_sample"]) / 1e9


def _milliseconds(record: Record) -> float:
    return 1000 * float(record["seconds_per_step"])


def _labels(cells: Sequence[Cell]) -> tuple[str, ...]:
    return tuple(cell.label for cell in cells)


def _interval(seeds: Sequence[int]) -> str:
    return f"mean ± half-width of the 95 % t interval over {len(seeds)} seeds ({_spans(seeds)})"


def _column(cells: Sequence[Cell], key: str, title: str, value: Callable[[Record], float], **looks: object) -> Column:
    return Column(key, title, tuple(estimate([value(r) for r in cell.records.values()]) for cell in cells), **looks)  # type: ignore[arg-type]


def _spans(numbers: Sequence[int]) -> str:
    """[0, 1, 2, 5] → "0–2, 5"."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}–{p[-1]}" for p in parts)
