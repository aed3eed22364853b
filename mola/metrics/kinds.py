"""The one table of task kinds: what a task of each kind is trained on and measured by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mola.metrics import classes, dense, multilabel, regression
from mola.metrics.metric import Metric
from mola.types import Kind


@dataclass(frozen=True)
class TaskKind:
    """A kind of task. What needs torch stands here by its name.

    dense:       whether every pixel has a prediction.
    every:       whether every metric is a result by itself in the tables, where others show the first one alone.
    missing:     what a target is where it is not known: −1 among labels; 0 or NaN among measurements.
    loss:        a function of ``mola.losses``.
    accumulator: a class of ``mola.metrics.accumulators``.
    metrics:     the first one ranks.
    """

    dense: bool
    every: bool
    missing: Literal["−1", "0", "NaN"]
    loss: str
    accumulator: str
    metrics: tuple[Metric, ...]

    @property
    def labels(self) -> bool:
        """Whether targets are labels; else they are measurements."""
        return self.missing == "−1"


KINDS: Mapping[Kind, TaskKind] = {
    "classes": TaskKind(False, False, "−1", "cross_entropy", "Classes", classes.METRICS),
    "multilabel": TaskKind(False, True, "−1", "binary_cross_entropy", "Multilabel", multilabel.METRICS),
    "regression": TaskKind(False, True, "NaN", "huber", "Regression", regression.METRICS),
    "segmentation": TaskKind(True, True, "−1", "pixel_cross_entropy", "Labels", dense.SEGMENTATION),
    "depth": TaskKind(True, True, "0", "absolute_error", "Depth", dense.DEPTH),
    "normals": TaskKind(True, True, "0", "cosine_distance", "Normals", dense.NORMALS),
}
