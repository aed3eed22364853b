"""Gains over a reference."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from mola.metrics import Scores, of, undefined
from mola.types import Task


def delta_task(method: Scores, reference: Scores, tasks: Sequence[Task]) -> float:
    """100 · mean over tasks of the mean over the task's metrics of ±(m − b)/b, in percent; positive is better than the
    reference. A metric that may be 0 or negative enters as ±(m − b); one that the split does not define is left out.

    Source: Maninis et al. 2019 (arXiv 1904.08918), as in LibMTL: every task weighs the same, however many metrics it
    has.
    """
    every = [gains for task in tasks if (gains := _gains(method, reference, task))]
    return 100 * statistics.fmean(map(statistics.fmean, every)) if every else math.nan


def delta_flat(method: Scores, reference: Scores, tasks: Sequence[Task]) -> float:
    """100 · mean over all metrics of all tasks of ∓(m − b)/b, in percent; negative is better than the reference.

    Source: CAGrad (arXiv 2110.14048), Nash-MTL, FAMO: a task with more metrics weighs more. The sign is theirs,
    opposite to Δ_task.
    """
    gains = [gain for task in tasks for gain in _gains(method, reference, task)]
    return -100 * statistics.fmean(gains) if gains else math.nan


def _gains(method: Scores, reference: Scores, task: Task) -> list[float]:
    values, bases = method[task.name], reference[task.name]
    gaps = {*undefined(task, values), *undefined(task, bases)}
    return [metric.gain_over(values[metric.name], bases[metric.name]) for metric in of(task) if metric not in gaps]
