"""Differences of two rows, run by run of one seed: how large, how sure, and whether chance alone would do it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from mola.reporting.statistics.intervals import SEED, Floats, bootstrap_interval

TESTABLE = 6  # below, no outcome has a two-sided p under .05
EXHAUSTIVE = 16  # above, sign flips are drawn
FLIPS = 99_999
TIE = 1e-9  # of the sum of absolute differences: sums that rounding alone tells apart are equal


@dataclass(frozen=True)
class Difference:
    """Mean of n paired differences with its 95 % bootstrap interval; p is None where n is too small to test."""

    mean: float
    low: float
    high: float
    n: int
    p: float | None
    holm: float | None = None  # p, corrected for the other rows of the table


def differences(rows: Sequence[Floats]) -> list[Difference | None]:
    """Each row's paired differences (n,) → their summary, with Holm's correction over all rows; None for an empty row
    or one that is not finite.
    """
    tested: list[Difference | None] = []
    for row in rows:
        if len(row) and np.isfinite(row).all():
            low, high = map(float, bootstrap_interval(row))
            tested.append(Difference(float(row.mean()), low, high, len(row), sign_flip(row)))
        else:
            tested.append(None)
    corrected = holm([None if d is None else d.p for d in tested])
    return [d and replace(d, holm=p) for d, p in zip(tested, corrected, strict=True)]


def sign_flip(row: Floats) -> float | None:
    """Two-sided p of paired differences (n,) with mean zero: the share of all 2ⁿ sign patterns whose mean is as far
    from zero as the observed one. None below six, where no p is under .05; from 99,999 seeded draws, the observed one
    counted among them, above sixteen.

    Source: Fisher 1935; exact where the differences are symmetric around zero under the null.
    """
    n = len(row)
    if n < TESTABLE:
        return None
    least = abs(row.sum()) - TIE * np.abs(row).sum()
    if n <= EXHAUSTIVE:
        return float(np.mean(np.abs(_signs(n) @ row) >= least))
    drawn = np.random.default_rng(SEED).integers(0, 2, (FLIPS, n), dtype=np.int8) * 2 - 1
    return float((1 + np.count_nonzero(np.abs(drawn @ row) >= least)) / (1 + FLIPS))


@cache
def _signs(n: int) -> Floats:
    """(2ⁿ⁻¹, n): the other half mirrors these, with the same distance from zero."""
    patterns = (np.arange(2 ** (n - 1))[:, None] >> np.arange(n)) & 1
    return 1 - 2 * patterns.astype(np.float64)


def smallest(rows: Sequence[Floats]) -> tuple[float, int]:
    """The smallest p that Holm's correction can give the best of these rows, and how many pairs each row needs for .05.
    (1, 0) where none can be tested.
    """
    lengths = [len(row) for row in rows if len(row) >= TESTABLE]
    if not lengths:
        return 1.0, 0
    return min(1.0, len(lengths) * 2.0 ** (1 - max(lengths))), math.ceil(1 + math.log2(len(lengths) / 0.05))


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction over the p values that are there; None stays None and counts for nothing.

    Source: Holm 1979. Rejecting where a corrected p is ≤ α keeps the chance of any false rejection ≤ α.
    """
    order = sorted((p, i) for i, p in enumerate(ps) if p is not None and not math.isnan(p))
    corrected: list[float | None] = [None] * len(ps)
    largest = 0.0
    for done, (p, i) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - done) * p))
        corrected[i] = largest
    return corrected
