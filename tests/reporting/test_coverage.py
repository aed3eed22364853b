"""Intervals hold what they promise, by simulation, and those that were not taken do not."""

import itertools

import numpy as np
import pytest
from scipy import stats

from mola.reporting.statistics import across, intervals
from mola.reporting.statistics.intervals import bootstrap_interval, expanded, t_half_width


def covered(low, high, truth=0.0):
    return np.mean((low <= truth) & (truth <= high))


def test_the_t_interval_covers_as_told():
    draws = np.random.default_rng(0).normal(size=(4000, 6))
    half = np.array([t_half_width(list(row)) for row in draws])
    assert 0.94 <= covered(draws.mean(1) - half, draws.mean(1) + half) <= 0.96


@pytest.mark.parametrize("n", [6, 10])
def test_the_bootstrap_interval_covers_as_told(monkeypatch, n):
    monkeypatch.setattr(intervals, "DRAWS", 1999)
    draws = np.random.default_rng(n).normal(size=(16, 500, n))
    assert 0.94 <= np.mean([covered(*bootstrap_interval(part)) for part in draws]) <= 0.96


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_the_usual_bootstrap_intervals_cover_too_rarely(method):
    draws = np.random.default_rng(1).normal(size=(1000, 6))
    rng = np.random.default_rng(0)
    result = stats.bootstrap((draws,), np.mean, axis=-1, n_resamples=999, method=method, rng=rng).confidence_interval
    assert covered(result.low, result.high) < 0.9


def test_the_bootstrap_interval_is_that_of_all_resamples():
    row = np.array([0.3, -1.2, 0.8, 2.0, 0.1])
    resamples = np.array(list(itertools.product(row, repeat=5)))
    with np.errstate(divide="ignore"):
        t = np.sort((resamples.mean(1) - row.mean()) / resamples.std(1, ddof=1))
    low, high = bootstrap_interval(row)
    assert low == pytest.approx(row.mean() - t[round(0.975 * len(t))] * row.std(ddof=1), rel=0.03)
    assert high == pytest.approx(row.mean() - t[round(0.025 * len(t))] * row.std(ddof=1), rel=0.03)
    assert bootstrap_interval(row) == (low, high)


def test_of_few_values_and_of_ties_the_interval_is_students():
    for row in (np.array([1.0, 2.5]), np.array([1.0, 2.0, 4.0]), np.array([2.0, 2.0, 2.0, 2.0, 2.0, 3.0])):
        half = t_half_width(list(row))
        assert bootstrap_interval(row) == pytest.approx((row.mean() - half, row.mean() + half))


def test_rows_do_not_depend_on_each_other():
    rows = np.random.default_rng(2).normal(size=(3, 6))
    low, high = bootstrap_interval(rows)
    assert low.shape == high.shape == (3,)
    assert bootstrap_interval(rows[0])[0] < rows[0].mean() < bootstrap_interval(rows[0])[1]
    assert np.isnan(bootstrap_interval(np.ones(1))[0])
    assert bootstrap_interval(np.ones(6)) == (1, 1)


def test_expansion_is_hesterbergs():
    # n = 6: t = 2.5706, times √(6/5) = 2.8159, whose normal tail is .00243
    assert expanded(6, 5) == pytest.approx(0.00243, abs=1e-5)
    assert expanded(10_000, 9_999) == pytest.approx(0.025, abs=1e-4)


def test_intervals_over_benchmarks_cover(monkeypatch):
    monkeypatch.setattr(across, "DRAWS", 499)
    draws = np.random.default_rng(4)
    places = np.array([10.0, 3.0, 5.0])[:, None]
    many = draws.normal(places, 2, (3, 200_000))
    middle = across.iqm(many.ravel())
    better = stats.norm.cdf(0.5 / np.sqrt(2))
    result = {"iqm": [], "improvement": []}
    for _ in range(200):
        _, low, high = across.interquartile(draws.normal(places, 2, (3, 6)))
        result["iqm"].append(low <= middle <= high)
        _, low, high = across.probability_of_improvement(draws.normal(0.5, 1, (3, 6)), draws.normal(0, 1, (3, 6)))
        result["improvement"].append(low <= better <= high)
    assert {name: np.mean(hits) >= 0.91 for name, hits in result.items()} == {"iqm": True, "improvement": True}
