"""Relative gains over a reference."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

from mola.types import Direction

Values = Mapping[str, Mapping[str, float]]  # task → metric → value
Directions = Mapping[str, Mapping[str, Direction]]  # task → metric → what is better


def delta_task(method: Values, reference: Values, directions: Directions) -> float:
    """100 · mean over tasks of the mean over the task's metrics of ±(m − b)/b, in percent; positive is better than the
    reference.

    Source: Maninis et al. 2019 (arXiv 1904.08918), as in LibMTL: every task weighs the same, however many metrics it
    has.
    """
    return 100 * statistics.fmean(
        statistics.fmean(_gain(method[t][m], reference[t][m], d) for m, d in metrics.items())
        for t, metrics in directions.items()
    )


def delta_flat(method: Values, reference: Values, directions: Directions) -> float:
    """100 · mean over all metrics of all tasks of ∓(m − b)/b, in percent; negative is better than the reference.

    Source: CAGrad (arXiv 2110.14048), Nash-MTL, FAMO: a task with more metrics weighs more. The sign is theirs,
    opposite to Δ_task.
    """
    return -100 * statistics.fmean(
        _gain(method[t][m], reference[t][m], d) for t, metrics in directions.items() for m, d in metrics.items()
    )


def _gain(value: float, base: float, direction: Direction) -> float:
    gain = (value - base) / base if base else math.nan
    return gain if direction == "higher" else -gain
