"""Metrics of the tasks, each over a whole split: never an average of batches.

metric        what a metric is: title, unit, direction, computation, and how it enters Δ
classes, multilabel, regression, dense  the metrics: a new one is an entry there
kinds         the table of task kinds
accumulators  what collects a split, batch by batch; the only file here that needs torch
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from mola.metrics.kinds import KINDS
from mola.metrics.metric import Metric
from mola.types import Kind, Task

Scores = Mapping[str, Mapping[str, float]]  # task → metric → value

METRICS: dict[str, Metric] = {metric.name: metric for kind in KINDS.values() for metric in kind.metrics}


def names(kind: Kind) -> tuple[str, ...]:
    """The metrics of a kind of task; the first one ranks."""
    return tuple(metric.name for metric in KINDS[kind].metrics)


def of(task: Task) -> tuple[Metric, ...]:
    """The metrics of a task; the first one ranks."""
    return tuple(METRICS[name] for name in task.metrics)


def ranking(task: Task) -> Metric:
    """The metric of a task that selects epochs and fills the tables."""
    return of(task)[0]


def averageable(tasks: Sequence[Task]) -> bool:
    """Whether the ranking metrics of all tasks are fractions, so that their mean means something."""
    return all(ranking(task).averaged for task in tasks)


def undefined(task: Task, scores: Mapping[str, float]) -> tuple[Metric, ...]:
    """The metrics that the targets of a split do not define: NaN, although the loss of the same predictions is finite;
    all of them where the scores say that there are no ``targets``.

    scores: of the task, with its ``loss``. A model that diverged has a loss that is not finite; it has no such metrics.
    """
    if scores.get("targets") == 0:
        return of(task)
    if not math.isfinite(scores.get("loss", math.nan)):
        return ()
    return tuple(metric for metric in of(task) if metric.needs and math.isnan(scores.get(metric.name, 0.0)))


def overall(scores: Scores, tasks: Sequence[Task]) -> float:
    """One number for several tasks, higher is better; NaN where a ranking metric is not finite. Tasks whose ranking
    metric the split does not define are left out: the same ones for every method.

    The mean of the tasks' ranking metrics if all are fractions. Otherwise the mean of ±log(metric), + where higher is
    better: its differences are the logarithm of the geometric mean of the tasks' improvements, free of units and of any
    reference; an absolute metric enters as it is.
    """
    values = [
        (ranking(task), scores[task.name][ranking(task).name])
        for task in tasks
        if ranking(task) not in undefined(task, scores[task.name])
    ]
    if not values or not all(math.isfinite(value) for _, value in values):
        return math.nan
    if averageable(tasks):
        return statistics.fmean(value for _, value in values)
    return statistics.fmean(metric.level(value) for metric, value in values)
