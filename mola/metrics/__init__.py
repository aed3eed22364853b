"""Metrics of the tasks, each over a whole split: never an average of batches.

Here is what the metrics are called and measured in, without torch: tables need no more.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal

from mola.types import Task

Unit = Literal["fraction", "metres", "ratio", "degrees"]  # a fraction: in [0, 1], higher is better
Scores = Mapping[str, Mapping[str, float]]  # task → metric → value

UNITS: Mapping[str, Unit] = {
    "accuracy": "fraction",
    "balanced_accuracy": "fraction",
    "auc": "fraction",
    "miou": "fraction",
    "pixel_accuracy": "fraction",
    "abs_error": "metres",
    "rel_error": "ratio",
    "mean_angle": "degrees",
    "median_angle": "degrees",
    "within_11": "fraction",
    "within_22": "fraction",
    "within_30": "fraction",
}
SMALLEST = 1e-6  # what a metric of 0 counts as where its logarithm is taken


def averageable(tasks: Sequence[Task]) -> bool:
    """Whether the ranking metrics of all tasks are fractions, so that their mean means something."""
    return all(UNITS[task.ranking[0]] == "fraction" for task in tasks)


def overall(scores: Scores, tasks: Sequence[Task]) -> float:
    """One number for several tasks, higher is better; NaN where a ranking metric is not finite.

    The mean of the tasks' ranking metrics if all are fractions. Otherwise the mean of ±log(metric), + where higher is
    better: its differences are the logarithm of the geometric mean of the tasks' improvements, free of units and of any
    reference.
    """
    ranking = [(scores[task.name][task.ranking[0]], task.ranking[1]) for task in tasks]
    if not all(math.isfinite(value) for value, _ in ranking):
        return math.nan
    if averageable(tasks):
        return statistics.fmean(value for value, _ in ranking)
    logs = [math.log(max(value, SMALLEST)) for value, _ in ranking]
    return statistics.fmean(log if better == "higher" else -log for log, (_, better) in zip(logs, ranking, strict=True))
