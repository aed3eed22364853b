"""Columns of what the rows cost, and of how many runs stand behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mola.reporting.results.records import Cell, Record
from mola.reporting.tables.estimates import Column, Estimate, of_records


@dataclass(frozen=True)
class Cost:
    """A number somewhere in a record."""

    key: str
    title: str
    path: tuple[str, ...]
    factor: float
    digits: int
    rare: bool = False  # shown only where some row has more than 0


COSTS = (
    Cost("parameters_trainable", "trained (M)", ("parameters", "trainable"), 1e-6, 2),
    Cost("parameters_inference", "params (M)", ("parameters", "inference"), 1e-6, 2),
    Cost("gflops_per_sample", "GFLOPs", ("flops_per_sample",), 1e-9, 3),
    Cost("milliseconds_per_step", "ms/step", ("seconds_per_step",), 1e3, 0),
    Cost("peak_memory_mib", "memory (MiB)", ("peak_memory_bytes",), 2**-20, 0),
    Cost("tuning_trials", "trials", ("tuned", "finished"), 1, 0),
    Cost("tuning_pruned", "pruned", ("tuned", "pruned"), 1, 0, rare=True),
)
CAPTION = (
    "trained: all parameters that training changes; params: those that a prediction depends on; GFLOPs: forward, per "
    "{image}; ms/step: one training step, and memory: the most that training held, on the machine of the run; trials: "
    "that tuning finished, failed ones too, – for settings that were not tuned."
)
PRUNED = " pruned: of these, stopped early: budgets are equal in epochs, not in trials."


def cost_columns(cells: Sequence[Cell]) -> list[Column]:
    """Means over the seeds; – for a row whose records don't tell. None of them is marked as best."""
    columns = [
        of_records(cells, c.key, c.title, lambda record, c=c: _found(record, c), digits=c.digits, interval=False)  # type: ignore[misc]
        for c in COSTS
    ]
    return [
        column
        for cost, column in zip(COSTS, columns, strict=True)
        if not cost.rare or any(e is not None and e.mean > 0 for e in column.estimates)
    ]


def runs_column(cells: Sequence[Cell]) -> list[Column]:
    """How many seeds each row has, where some row lacks one."""
    if all(cell.complete for cell in cells):
        return []
    rows = tuple(Estimate(len(cell.records)) for cell in cells)
    return [Column("seeds", "n", rows, digits=0, interval=False)]


def _found(record: Record, cost: Cost) -> float | None:
    value: Any = record
    for key in cost.path:
        value = value.get(key) if isinstance(value, dict) else None
    return None if value is None else cost.factor * float(value)
