"""Columns of what the rows cost, and of how many runs stand behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mola.experiment.record import Record
from mola.reporting.results.records import Row
from mola.reporting.tables.layout import Column, Estimate, estimate


@dataclass(frozen=True)
class Cost:
    """A number that a run has, or that its row's tuning has."""

    key: str
    title: str
    value: Callable[[Row, Record], float | None]
    digits: int
    rare: bool = False  # shown only where some row has more than 0


def _tuning(key: str) -> Callable[[Row, Record], float | None]:
    return lambda row, record: row.tuning.get(key) if record.tuned else None


COSTS = (
    Cost("parameters_trainable", "trained (M)", lambda _, record: 1e-6 * record.parameters.trainable, 2),
    Cost("parameters_inference", "params (M)", lambda _, record: 1e-6 * record.parameters.inference, 2),
    Cost("gflops_per_sample", "GFLOPs", lambda _, record: 1e-9 * record.flops_per_sample, 3),
    Cost(
        "milliseconds_per_step",
        "ms/step",
        lambda _, record: record.seconds_per_step and 1e3 * record.seconds_per_step,
        0,
    ),
    Cost("peak_memory_mib", "memory (MiB)", lambda _, record: 2**-20 * record.peak_memory_bytes, 0),
    Cost("tuning_trials", "trials", _tuning("finished"), 0),
    Cost("tuning_pruned", "pruned", _tuning("pruned"), 0, rare=True),
)
CAPTION = (
    "trained: all parameters that training changes; params: those that a prediction depends on; GFLOPs: forward, per "
    "{image}; ms/step: one training step, and memory: the most that training held, on the machine of the run; trials: "
    "that tuning finished, failed ones too, – for settings that were not tuned."
)
PRUNED = " pruned: of these, stopped early: budgets are equal in epochs, not in trials."


def cost_columns(rows: Sequence[Row]) -> list[Column]:
    """Means over the seeds; – for a row whose records don't have the number. None of them is marked as best."""
    columns = [(cost, tuple(mean_cost(row, cost) for row in rows)) for cost in COSTS]
    return [
        Column(cost.key, cost.title, means, cost.digits, interval=False)
        for cost, means in columns
        if not cost.rare or any(mean is not None and mean.mean > 0 for mean in means)
    ]


def runs_column(rows: Sequence[Row]) -> list[Column]:
    """How many seeds each row has, where some row lacks one."""
    if all(row.complete for row in rows):
        return []
    counts = tuple(Estimate(len(row.records)) for row in rows)
    return [Column("seeds", "n", counts, digits=0, interval=False)]


def mean_cost(row: Row, cost: Cost) -> Estimate | None:
    """The mean over the row's records that have the number."""
    return estimate([v for record in row.records.values() if (v := cost.value(row, record)) is not None])
