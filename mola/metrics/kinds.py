"""The one table of task kinds: what a task of each kind is trained on and measured by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mola.metrics import classes, dense
from mola.metrics.metric import Metric
from mola.types import Kind


@dataclass(frozen=True)
class TaskKind:
    """A kind of task. What needs torch stands here by its name.

    dense:       whether every pixel has a prediction, and every metric is a result of its own in the tables.
    labels:      whether targets are labels, −1 where there is none; else measurements, 0 where there is none.
    loss:        a function of ``mola.losses``.
    accumulator: a class of ``mola.metrics.accumulators``.
    metrics:     the first one ranks.
    """

    dense: bool
    labels: bool
    loss: str
    accumulator: str
    metrics: tuple[Metric, ...]


KINDS: Mapping[Kind, TaskKind] = {
    "classes": TaskKind(False, True, "cross_entropy", "Classes", classes.METRICS),
    "segmentation": TaskKind(True, True, "pixel_cross_entropy", "Labels", dense.SEGMENTATION),
    "depth": TaskKind(True, False, "absolute_error", "Depth", dense.DEPTH),
    "normals": TaskKind(True, False, "cosine_distance", "Normals", dense.NORMALS),
}
