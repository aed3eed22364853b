"""Several benchmarks at once. Strata are benchmarks: seeds are drawn anew within each, benchmarks are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from mola.reporting.statistics.intervals import ALIKE, DRAWS, SEED, Floats, expanded

Interval = tuple[float, float, float]  # the estimate, its low and its high end


def mean_ranks(scores: Floats) -> Floats:
    """Mean over benchmarks of each method's rank: (K, M), higher is better → (M,)."""
    return np.asarray(ranks(scores).mean(axis=0))


def ranks(scores: Floats) -> Floats:
    """Each method's rank on each benchmark, 1 is best, ties averaged: (K, M), higher is better → (K, M).

    Scores are tied, too, where they differ by no more than rounding: by 1e-9 of the largest of their benchmark.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    falling = np.take_along_axis(scores, order, axis=1)
    apart = -np.diff(falling, axis=1, prepend=falling[:, :1]) > ALIKE * np.abs(scores).max(axis=1, keepdims=True)
    levels = np.empty(scores.shape)
    np.put_along_axis(levels, order, np.cumsum(apart, axis=1), axis=1)
    return np.asarray(stats.rankdata(levels, axis=1))


def iqm(values: Floats) -> Floats:
    """Interquartile mean over the last axis: without the lowest and the highest quarter, whose sizes are rounded down.

    Source: Agarwal et al. 2021 (arXiv 2108.13264).
    """
    return np.asarray(stats.trim_mean(values, 0.25, axis=-1))


def interquartile(values: Floats) -> Interval:
    """IQM of all values (K, S) of K benchmarks with S seeds each, with its stratified bootstrap interval (95 %). Its
    percentiles are expanded as of one mean with K (S − 1) degrees of freedom; a deviation from the source's plain ones.
    """
    strata, n = values.shape
    rows = np.random.default_rng(SEED).integers(0, n, (DRAWS, strata, n))
    drawn = iqm(values[np.arange(strata)[:, None], rows].reshape(DRAWS, -1))
    return _interval(float(iqm(values.ravel())), drawn, n, strata)


def probability_of_improvement(rows: Sequence[Floats], base: Sequence[Floats]) -> Interval:
    """The chance that a run of one method beats a run of the other on a benchmark drawn at random, ties count half: K
    times the scores (S,) of each, higher is better. With the stratified bootstrap interval (95 %).

    Source: Agarwal et al. 2021. Runs are not paired here: it is about a run to come. Degrees of freedom are those of
    the smallest sample, of either.
    """
    draw = np.random.default_rng(SEED)
    shares, drawn = [], np.zeros(DRAWS)
    for ours, theirs in zip(rows, base, strict=True):
        gains = ours[:, None] - theirs
        tied = np.abs(gains) <= ALIKE * np.maximum(np.abs(ours)[:, None], np.abs(theirs))
        wins = np.where(tied, 0.5, gains > 0)
        a, b = (draw.multinomial(len(x), np.full(len(x), 1 / len(x)), DRAWS) / len(x) for x in (ours, theirs))
        drawn += np.einsum("ri,ij,rj->r", a, wins, b, optimize=True) / len(rows)
        shares.append(wins.mean())
    return _interval(float(np.mean(shares)), drawn, min(map(len, [*rows, *base])), len(rows))


def _interval(estimate: float, drawn: Floats, n: int, strata: int) -> Interval:
    if n < 2:
        return estimate, np.nan, np.nan
    cut = expanded(n, strata * (n - 1))
    low, high = np.quantile(drawn, [cut, 1 - cut])
    return estimate, float(low), float(high)
