"""Whether the numbers of a record can be what they say: what is missing or out of its range is no result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from mola.experiment.record import Record
from mola.metrics import Scores, of, ranking, undefined
from mola.metrics.metric import DEGREES, FRACTION, METRES, Metric
from mola.types import Task

SLACK = 1e-6  # of rounding


def fault(record: Record, tasks: Sequence[Task]) -> str | None:
    """What is wrong with the first score that is missing, no finite number though the split defines it, or out of its
    range; None where all are well.
    """
    if not tasks:
        return None
    oracle = {"oracle_selection": record.oracle_selection.test} if record.oracle_selection else {}
    for place, scores in ({"test": record.test} | oracle).items():
        for problem in _missing(scores, tasks):
            return f"unreadable record: {place}: {problem}"
    curve = {f"curve, epoch {epoch.epoch}": epoch.valid for epoch in record.curve}
    for place, scores in ({"test": record.test, "valid": record.valid} | oracle | curve).items():
        for problem in _out_of_range(scores, tasks):
            return f"unreadable record: {place}: {problem}"
    return None


def _missing(scores: Scores, tasks: Sequence[Task]) -> Iterator[str]:
    for task in tasks:
        values = scores.get(task.name, {})
        gaps = {metric.name for metric in undefined(task, values)}
        for metric in (name for name in task.metrics if name not in gaps):
            value: float | str = values.get(metric, "none")
            if isinstance(value, str) or not math.isfinite(value):
                yield f"expected a number for {task.name} {metric}, found {value}"


def _out_of_range(scores: Scores, tasks: Sequence[Task]) -> Iterator[str]:
    """Of a learning curve, too, where the first metric alone has to be there, and may be no finite number."""
    for task in tasks:
        values: Mapping[str, float] = scores.get(task.name, {})
        if ranking(task).name not in values:
            yield f"expected {ranking(task).name} of {task.name}, found none"
            continue
        for metric in of(task):
            low, high = _range(metric)
            value = values.get(metric.name, low)
            if math.isfinite(value) and not low - SLACK <= value <= high + SLACK:
                yield f"expected {task.name} {metric.name} from {low:g} to {high:g}, found {value:g}"


def _range(metric: Metric) -> tuple[float, float]:
    """The values that a metric can have; a relative one is divided by, and lower ones are errors."""
    if metric.unit in (FRACTION, DEGREES):
        return 0.0, 1.0 if metric.unit == FRACTION else 180.0
    is_error = metric.unit == METRES or (metric.gain == "relative" and metric.better == "lower")
    return (0.0 if is_error else -math.inf), math.inf
