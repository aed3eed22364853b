"""Sign-flip test and Holm's correction, against enumeration, scipy, statsmodels and a published example."""

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mola.reporting.statistics.paired import differences, holm, sign_flip, smallest

DARWIN = (49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48)  # maize, eighths of an inch; Fisher 1935, §21


def enumerated(row):
    sums = [abs(np.dot(signs, row)) for signs in itertools.product((1, -1), repeat=len(row))]
    return np.mean([s >= abs(sum(row)) - 1e-9 for s in sums])


def test_fishers_count_of_darwins_plants():
    assert sign_flip(np.array(DARWIN, float)) == 2 * 863 / 2**15


@pytest.mark.parametrize("n", [6, 7, 8])
def test_p_is_that_of_enumeration_and_of_scipy(n):
    row = np.random.default_rng(n).normal(0.4, 1, n)
    exact = stats.permutation_test(
        (row,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert sign_flip(row) == pytest.approx(enumerated(row)) == pytest.approx(exact.pvalue)


def test_ties_and_zeros_count_as_seen():
    assert sign_flip(np.zeros(6)) == 1
    assert sign_flip(np.full(6, 0.1)) == 2 / 64
    # .1 + .2 − .3 is not 0 in binary: rounding must not tell equal sums apart
    row = np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.3])
    assert sign_flip(row) == sign_flip(np.round(10 * row)) == 2 / 64
    row = np.array([0.3, -0.1, -0.2, 0.4, 0.1, 0.0])
    assert sign_flip(row) == enumerated([3, -1, -2, 4, 1, 0])


def test_many_pairs_are_drawn_near_the_exact_p():
    row = np.random.default_rng(3).normal(0.8, 1, 17)
    signs = 1.0 - 2.0 * ((np.arange(2**16)[:, None] >> np.arange(17)) & 1)
    exact = np.mean(np.abs(signs @ row) >= abs(row.sum()) - 1e-9)
    assert 0.01 < exact < 0.5
    assert sign_flip(row) == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 99_999))
    assert sign_flip(row) == sign_flip(row.copy())
    assert sign_flip(np.ones(20)) == 1 / 100_000  # never zero


def test_too_few_pairs_have_no_p():
    assert sign_flip(np.ones(5)) is None
    (result,) = differences([np.ones(5)])
    assert result.p is None and result.holm is None and result.mean == 1 and result.n == 5


def test_holm_is_that_of_statsmodels_and_skips_what_is_not_tested():
    draws = np.random.default_rng(0)
    for size in (1, 2, 7):
        ps = list(draws.uniform(0, 0.2, size))
        assert holm(ps) == pytest.approx(multipletests(ps, method="holm")[1])
        assert holm([None, *ps, None])[1:-1] == pytest.approx(holm(ps))
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # by hand
    assert holm([None, None]) == [None, None]


def test_rows_without_numbers_have_no_difference():
    result = differences([np.array([]), np.array([0.1, np.nan]), np.arange(6.0)])
    assert result[:2] == [None, None] and result[2].mean == 2.5 and result[2].holm == result[2].p


def test_what_no_result_could_reach_is_known():
    rows = [np.arange(6.0)] * 6
    assert smallest(rows) == (6 / 32, 8)
    assert holm([sign_flip(np.ones(6))] * 6)[0] == 6 / 32
    assert holm([sign_flip(np.ones(8))] * 6)[0] <= 0.05 < holm([sign_flip(np.ones(7))] * 6)[0]
    assert smallest([np.arange(5.0)]) == (1.0, 0)


@pytest.mark.parametrize("n", [6, 10])
def test_a_null_is_not_found_more_often_than_told(n):
    rows = np.random.default_rng(n).normal(size=(1000, n))
    assert 0.01 <= np.mean([sign_flip(row) <= 0.05 for row in rows]) <= 0.06


def test_a_family_of_nulls_raises_no_more_false_alarms():
    tables = np.random.default_rng(5).normal(size=(1000, 5, 10))
    result = [min(holm([sign_flip(row) for row in table])) <= 0.05 for table in tables]
    assert np.mean(result) <= 0.06


def test_a_planted_difference_is_found_among_nulls():
    draws = np.random.default_rng(6)
    result = []
    for _ in range(200):
        rows = [draws.normal(2 * (i == 3), 1, 10) for i in range(5)]
        result.append(holm([sign_flip(row) for row in rows])[3] <= 0.05)
    assert np.mean(result) >= 0.9
