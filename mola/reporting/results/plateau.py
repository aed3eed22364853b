"""Whether a run ends in a plateau: what selects its epoch moves by less than a point over the last fifth of training.

A function of a record's curve alone, so that every record says it, whenever it was made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mola.experiment.record import Record
from mola.metrics import overall
from mola.types import Task

LIMIT = 1.0  # points of ``mola.metrics.overall`` × 100


def last_fifth(record: Record, tasks: Sequence[Task]) -> float | None:
    """By how much the score on valid, × 100, rose from epoch ⌊4E/5⌋ of E to the last one; negative where it fell.

    None for a run of one epoch, which has none before the last. NaN where a score is not finite.
    """
    epochs = len(record.curve)
    before = 4 * epochs // 5
    if before < 1:
        return None
    first, last = (overall(record.curve[epoch - 1].valid, tasks) for epoch in (before, epochs))
    # hundredths that floats don't hold are no movement
    return round(100 * (last - first), 9)


def moves(records: Mapping[int, Record], tasks: Sequence[Task]) -> dict[int, float]:
    """Seed → ``last_fifth``, of the runs that have one."""
    values = {seed: last_fifth(record, tasks) for seed, record in records.items()}
    return {seed: value for seed, value in values.items() if value is not None}
