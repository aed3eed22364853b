"""Tables: methods × metrics, with Δ against the reference row, and costs. A pure function of records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mola.metrics import averageable
from mola.reporting.columns import (
    Column,
    average_column,
    cost_columns,
    delta_columns,
    metric_columns,
    ranking_columns,
    weighs_metrics,
)
from mola.reporting.records import Cell, Record
from mola.types import Task


@dataclass(frozen=True)
class Table:
    """Rows of labels, columns of numbers, and what a reader must know."""

    title: str
    labels: tuple[str, ...]
    columns: tuple[Column, ...]
    caption: str
    notes: tuple[str, ...]
    incomplete: frozenset[str] = frozenset()  # rows that lack seeds: marked, and never best


@dataclass(frozen=True)
class Results:
    """What a benchmark's table is made from."""

    tasks: Sequence[Task]
    cells: Sequence[Cell]
    remarks: Sequence[str] = ()  # the benchmark's own, see ``Benchmark.remarks``
    held_out: bool = True  # whether the epoch is selected on images that no table reports

    @property
    def dense(self) -> bool:
        """Whether some task is a dense one: then every metric is a result of its own."""
        return any(task.kind != "classes" for task in self.tasks)


def benchmark_table(name: str, results: Results, seeds: Sequence[int], reference: str | None) -> Table:
    """The table of one benchmark: test scores at the epoch that was selected on valid. For classes the ranking metric
    of every task; for dense tasks every metric.
    """
    tasks, cells = results.tasks, results.cells
    base = _base(cells, reference)
    columns = (metric_columns if results.dense else ranking_columns)(cells, tasks)
    if averageable(tasks):
        columns.append(average_column(cells, tasks, "average", "average"))
    if base:
        columns += delta_columns(cells, base, tasks, reference, arrows=results.dense)
    columns += cost_columns(cells)
    caption = _caption(name, results, seeds, reference if base else None)
    lines = (*results.remarks, *notes(cells, reference))
    return Table(name, _labels(cells), tuple(columns), caption, lines, _incomplete(cells))


def summary_table(suite: str, benchmarks: Mapping[str, Results], seeds: Sequence[int], reference: str | None) -> Table:
    """One row per method: on every benchmark its average, where the tasks have one, and its Δ."""
    columns: list[Column] = []
    lines: list[str] = []
    incomplete: frozenset[str] = frozenset()
    for name, results in benchmarks.items():
        tasks, cells = results.tasks, results.cells
        if averageable(tasks):
            columns.append(average_column(cells, tasks, f"{name}_average", name))
        if base := _base(cells, reference):
            columns += delta_columns(cells, base, tasks, reference, f"{name} ")
        lines += [f"{name}: {remark}" for remark in results.remarks]
        lines += [f"{name}, {note}" for note in notes(cells, reference)]
        incomplete |= _incomplete(cells)
    caption = f"Suite {suite}: test score (%) averaged over the tasks of each benchmark"
    if apart := [name for name, results in benchmarks.items() if not averageable(results.tasks)]:
        caption += f" (not of {', '.join(apart)}: their tasks have different units)"
    caption += f", and Δ against {reference}" if reference else ""
    selected = (
        "on the split reported" if any(not r.held_out for r in benchmarks.values()) else "on the validation split"
    )
    caption += f"; {_interval(seeds)}; epochs selected {selected}."
    if reference:
        caption += f" {_meaning('Δ_task', 'positive', 'tasks')}"
        if any(weighs_metrics(results.tasks) for results in benchmarks.values()):
            caption += f" {_meaning('Δ_flat', 'negative', 'metrics')}"
    labels = _labels(next(iter(benchmarks.values())).cells)
    return Table("summary", labels, tuple(columns), caption, tuple(lines), incomplete)


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
    if len({record.get("data") for cell in cells for record in cell.records.values()}) > 1:
        lines.append(
            "the runs were not all made on the same prepared data: they can't be compared; prepare and train anew"
        )
    if reference is not None and not any(cell.records for cell in cells if cell.label == reference):
        lines.append(f"no finished run of the reference {reference}: no Δ")
    return tuple(lines)


def _caption(name: str, results: Results, seeds: Sequence[int], reference: str | None) -> str:
    """reference: None where no Δ is shown."""
    tasks = results.tasks
    if results.dense:
        text = (
            f"{name}: every metric of every task on test, {_interval(seeds)}. ↑: higher is better, ↓: lower. Each is "
            "taken over all pixels of the split that count, not averaged over batches. "
        )
        if not averageable(tasks):
            text += "No average: the tasks have different units. "
    else:
        text = (
            f"{name}: test {' and '.join(dict.fromkeys(task.ranking[0] for task in tasks))} (%), {_interval(seeds)}. "
        )
    if results.held_out:
        text += "The epoch is selected on the validation split; the test split is read once, after that. "
    else:
        text += "The epoch is selected on the split reported here, so the scores are too good. "
    text += "Best in bold, second best underlined. "
    if reference and weighs_metrics(tasks):
        text += f"Δ: mean relative gain over {reference} with the same seed, in percent, over all metrics. "
        text += f"{_meaning('Δ_task', 'positive', 'tasks')} {_meaning('Δ_flat', 'negative', 'metrics')} "
    elif reference:
        told = ", ".join(dict.fromkeys(metric.replace("_", " ") for task in tasks for metric in task.metrics))
        text += f"Δ_task: mean relative gain over {reference} with the same seed, in percent, over {told}. "
    image = "image with all its tasks" if results.dense else "image of a small batch"
    return text + (
        f"params: parameters that a prediction depends on; GFLOPs: forward, per {image}; "
        "ms/step: one training step on the machine of the run."
    )


def _meaning(delta: str, better: str, equal: str) -> str:
    return f"{delta}: all {equal} weigh the same; {better} is better."


def _base(cells: Sequence[Cell], reference: str | None) -> Mapping[int, Record]:
    """The records of the reference row, by seed."""
    return next((cell.records for cell in cells if cell.label == reference), {})


def _labels(cells: Sequence[Cell]) -> tuple[str, ...]:
    return tuple(cell.label for cell in cells)


def _incomplete(cells: Sequence[Cell]) -> frozenset[str]:
    return frozenset(cell.label for cell in cells if not cell.complete)


def _interval(seeds: Sequence[int]) -> str:
    return f"mean ± half-width of the 95 % t interval over {len(seeds)} seeds ({_spans(seeds)})"


def _spans(numbers: Sequence[int]) -> str:
    """[0, 1, 2, 5] → "0–2, 5"."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}–{p[-1]}" for p in parts)
