"""Several benchmarks: against scipy, by hand, and on the published example of Demšar 2006 (JMLR 7, table 6)."""

import numpy as np
import pytest
from scipy import stats

from mola.reporting.statistics.across import interquartile, iqm, mean_ranks, probability_of_improvement, ranks
from mola.reporting.statistics.critical import critical, critical_distance

METHODS = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")
AUC = np.array(
    [
        (0.763, 0.768, 0.771, 0.798),
        (0.599, 0.591, 0.590, 0.569),
        (0.954, 0.971, 0.968, 0.967),
        (0.628, 0.661, 0.654, 0.657),
        (0.882, 0.888, 0.886, 0.898),
        (0.936, 0.931, 0.916, 0.931),
        (0.661, 0.668, 0.609, 0.685),
        (0.583, 0.583, 0.563, 0.625),
        (0.775, 0.838, 0.866, 0.875),
        (1.000, 1.000, 1.000, 1.000),
        (0.940, 0.962, 0.965, 0.962),
        (0.619, 0.666, 0.614, 0.669),
        (0.972, 0.981, 0.97501, 0.975),  # printed as equal, ranked 2 and 3
        (0.957, 0.978, 0.946, 0.970),
    ]
)
SETS = [f"set{i}" for i in range(len(AUC))]


def test_mean_ranks_of_the_published_example():
    assert mean_ranks(AUC) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)


def test_critical_difference_of_the_published_example():
    result = critical(AUC, SETS, METHODS)
    assert result.reason is None
    assert result.distance == pytest.approx(1.25, abs=0.005)
    ranks = stats.rankdata(AUC, axis=1)  # the paper's 9.28 is 12 N / k (k + 1) · …, without the correction for ties
    ties = 1 - sum(n**3 - n for row in ranks for n in np.unique(row, return_counts=True)[1]) / (14 * (4**3 - 4))
    assert result.friedman == pytest.approx(stats.chi2.sf(9.28 / ties, 3), rel=0.01)
    quantile = (3.143 - 1.964) / np.sqrt(4 * 5 / (6 * 14)) * np.sqrt(2)
    assert result.nemenyi[0][3] == pytest.approx(stats.studentized_range.sf(quantile, 4, np.inf), abs=1e-3)
    apart = np.abs(np.subtract.outer(result.ranks, result.ranks)) > result.distance
    assert ((np.array(result.nemenyi) < 0.05) == apart).all()


@pytest.mark.parametrize(("methods", "quantile"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_quantiles_of_the_published_table(methods, quantile):
    assert critical_distance(6, methods) == pytest.approx(quantile * np.sqrt(methods * (methods + 1) / 36), abs=2e-3)


def test_no_diagram_without_its_conditions():
    few = critical(AUC[:4], SETS[:4], METHODS)
    assert few.reason == "expected at least 5 independent benchmarks, found 4" and few.nemenyi == ()
    names = ["digits"] * (len(SETS) - 4) + [f"other{i}" for i in range(4)]
    assert critical(AUC, SETS, METHODS, names).reason.startswith("expected every benchmark once, found 14 entries of 5")
    assert "benchmarks, found 4" in critical(AUC, SETS, METHODS, ["digits", *names[1:-1], "digits"]).reason
    assert "at least 3 methods, found 2" in critical(AUC[:, :2], SETS, METHODS[:2]).reason
    gap = AUC.copy()
    gap[3, 1] = np.nan
    assert critical(gap, SETS, METHODS).reason == "not every run of C4.5+m is there"
    assert "sees no difference" in critical(np.ones((6, 3)), SETS[:6], METHODS[:3]).reason
    noise = np.random.default_rng(0).normal(size=(6, 4))
    alike = critical(noise, SETS[:6], METHODS)
    assert alike.friedman > 0.05 and "sees no difference" in alike.reason and alike.distance is None


def test_the_interquartile_mean_drops_the_ends():
    values = np.array([[0.0, 100.0, 3.0, 4.0], [5.0, 6.0, -80.0, 2.0]])
    assert iqm(values.ravel()) == np.mean([2, 3, 4, 5])
    assert iqm(values.ravel()) == stats.trim_mean(values.ravel(), 0.25)
    result, low, high = interquartile(values)
    assert result == 3.5 and low <= result <= high
    assert interquartile(np.ones((2, 6))) == (1, 1, 1)


def test_seeds_are_drawn_within_benchmarks():
    """Benchmarks far apart: were runs drawn over all of them, the interval would be as wide as that."""
    values = np.array([[0.0], [10.0], [20.0], [30.0]]) + np.linspace(-0.1, 0.1, 6)
    _, low, high = interquartile(values)
    assert 14.8 < low < high < 15.2


def test_probability_of_improvement_is_mann_whitneys():
    draws = np.random.default_rng(1)
    a, b = draws.normal(0.5, 1, (3, 6)).round(1), draws.normal(0, 1, (3, 6)).round(1)
    shares = [stats.mannwhitneyu(x, y).statistic / 36 for x, y in zip(a, b, strict=True)]
    result, low, high = probability_of_improvement(a, b)
    assert result == pytest.approx(np.mean(shares)) and low <= result <= high
    assert probability_of_improvement(b, a)[0] == pytest.approx(1 - result)
    assert probability_of_improvement([np.ones(6)], [np.ones(6)])[0] == 0.5


def test_the_interval_of_p_better_is_as_wide_as_the_smaller_side_asks_for():
    draws = np.random.default_rng(2)
    many, few = draws.normal(0.3, 1, 20), draws.normal(0, 1, 4)
    result, low, high = probability_of_improvement([many], [few])
    other = probability_of_improvement([few], [many])
    assert (1 - result, 1 - high, 1 - low) == pytest.approx(other, abs=0.05), "whichever side the few stand on"
    assert np.isnan(probability_of_improvement([many], [few[:1]])[1:]).all(), "one run has no spread"


def test_scores_that_rounding_alone_tells_apart_are_tied():
    draws = np.random.default_rng(0)
    seeds = [draws.integers(30, 60, 6) / 100 for _ in range(40)]
    scores = np.array([[draws.permutation(row).mean() for _ in range(3)] for row in seeds])
    assert np.ptp(scores, axis=1).max() > 0, "the order of a sum shows in its last bit"
    assert (ranks(scores) == 2).all()
    difference = critical(scores[:6], [f"set{i}" for i in range(6)], ["a", "b", "c"])
    assert difference.ranks == (2, 2, 2) and "sees no difference" in difference.reason
    assert ranks(np.array([[0.5, 0.5 + 1e-7, 0.5 - 1e-7, -3.0]])).tolist() == [[2, 1, 3, 4]]
    assert probability_of_improvement([scores[0, :1]], [scores[0, :1] + 1e-16])[0] == 0.5
