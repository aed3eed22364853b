"""Metrics of several yes-or-no labels of one sample. A new one is an entry of ``METRICS``; it reads what
``accumulators.Multilabel`` collects.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from mola.metrics.classes import AUC
from mola.metrics.metric import FRACTION, Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mola.metrics.accumulators import Multilabel


def mean_average_precision(totals: Multilabel) -> float:
    """Mean over the labels that have positives of their average precision; NaN if none has."""
    values = [average_precision(scores, positive) for scores, positive in totals.one_by_one() if positive.any()]
    return statistics.fmean(values) if values else math.nan


def average_precision(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """(N,) scores and (N,) whether positive → Σ_n (R_n − R_(n−1)) P_n over the distinct scores, from the highest on:
    samples of one score come together, and nothing is interpolated.
    """
    # losses look up the kinds of tasks, and work without NumPy
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.diff(scores[order]) != 0, True)  # the last sample of each score
    hits = positive[order].cumsum()[ends]
    precision = hits / (np.flatnonzero(ends) + 1)
    return float(np.diff(hits, prepend=0) @ precision / hits[-1])


METRICS = (
    Metric("mean_average_precision", FRACTION, mean_average_precision, title="mAP", needs="a label with positives"),
    AUC,
)
