"""Metrics of one number per sample. A new one is an entry of ``METRICS``; it reads what ``accumulators.Regression``
collects.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mola.metrics.metric import RATIO, TARGET, Metric

if TYPE_CHECKING:
    from torch import Tensor

    from mola.metrics.accumulators import Regression


def mean_absolute_error(totals: Regression) -> Tensor:
    """Mean of |p − y|, in the unit of the targets."""
    return totals.errors.abs().mean()


def root_mean_squared_error(totals: Regression) -> Tensor:
    """√ of the mean of (p − y)², in the unit of the targets."""
    return totals.errors.square().mean().sqrt()


def r2(totals: Regression) -> float:
    """1 − Σ (p − y)² / Σ (y − mean of y)², which may be negative; NaN where all targets are equal."""
    known = totals.known
    if bool((known == known[0]).all()):
        return math.nan
    return 1 - float(totals.errors.square().sum() / (known - known.mean()).square().sum())


METRICS = (
    Metric("mean_absolute_error", TARGET, mean_absolute_error, "lower", "MAE"),
    Metric("r2", RATIO, r2, title="R²", gain="absolute", needs="two targets that differ"),
    Metric("root_mean_squared_error", TARGET, root_mean_squared_error, "lower", "RMSE"),
)
