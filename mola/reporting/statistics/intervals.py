"""Intervals of a mean over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
DRAWS = 9_999
ALIKE = 1e-9  # of the range: differences of scores are equal but for rounding
SEED = 0  # of every draw here: the same records give the same tables


def t_half_width(values: Sequence[float], confidence: float = 0.95) -> float:
    """Half the width of the Student t interval of the mean of n independent values; NaN below two, and where
    one is not finite.
    """
    n = len(values)
    if n < 2 or not all(map(math.isfinite, values)):
        return math.nan
    return float(stats.t.ppf((1 + confidence) / 2, n - 1)) * statistics.stdev(values) / math.sqrt(n)


def bootstrap_interval(values: Floats, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """The ends of the studentised bootstrap interval of the mean over the last axis: (…, n) → (…,) twice; NaN for one.

    Source: Hesterberg 2015 (arXiv 1411.5279), there bootstrap t. Of six normal values plain percentiles and BCa cover
    the mean 86 % of the time where 95 % are asked for, this one 94.6 % (tests/reporting/test_coverage.py).
    Student's interval where too many resamples have no spread: of two or three values, or of ties.
    """
    n, mean = values.shape[-1], values.mean(-1)
    if n < 2:
        return np.full(mean.shape, np.nan), np.full(mean.shape, np.nan)
    deviation, cut = values.std(-1, ddof=1), (1 - confidence) / 2
    drawn = values[..., np.random.default_rng(SEED).integers(0, n, (DRAWS, n))]  # (…, DRAWS, n)
    off, smallest = drawn.mean(-1) - mean[..., None], ALIKE * np.ptp(values, axis=-1)[..., None]
    alike = np.ptp(drawn, axis=-1) <= smallest
    beyond = np.where(np.abs(off) <= smallest, 0.0, np.copysign(np.inf, off))
    t = np.where(alike, beyond, off / np.where(alike, 1, drawn.std(-1, ddof=1)))
    ends = np.quantile(t, [cut, 1 - cut], axis=-1, method="inverted_cdf")  # no mean of a number and infinity
    students = np.reshape(stats.t.ppf([cut, 1 - cut], n - 1) / math.sqrt(n), (2, *[1] * mean.ndim))
    low, high = np.where(np.isfinite(ends).all(0), ends, students)
    return mean - high * deviation, mean - low * deviation


def expanded(n: int, freedom: int, confidence: float = 0.95) -> float:
    """The probability to cut off at each end of a bootstrap distribution: less than (1 − confidence)/2, as its spread
    is too small by √((n − 1)/n) and its tails are a normal's, not a t's.

    n: values that are drawn together; freedom: degrees of freedom of their variance, over all strata.
    """
    quantile = stats.t.ppf((1 + confidence) / 2, freedom)
    return float(stats.norm.cdf(-math.sqrt(n / (n - 1)) * quantile))
