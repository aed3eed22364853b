import math

import numpy as np
import pytest
from scipy import stats

from mola.reporting.statistics import delta_flat, delta_task, t_half_width

# NYUv2, SegNet: single-task constants and rows as printed by Nash-MTL and others (docs/protocol.md)
NAMES = ("miou", "pixel", "abs", "rel", "mean", "median", "11.25", "22.5", "30")
UP = (True, True, False, False, False, False, True, True, True)
SINGLE = (38.30, 63.76, 0.6754, 0.2780, 25.01, 19.21, 30.14, 57.20, 69.15)
ROWS = {
    "equal weights": ((39.29, 65.33, 0.5493, 0.2263, 28.15, 23.96, 22.09, 47.50, 61.08), 5.59, 0.88),
    "Nash-MTL": ((40.13, 65.93, 0.5261, 0.2171, 25.26, 20.08, 28.40, 55.47, 68.15), -4.05, 7.65),
    "Aligned-MTL": ((40.82, 66.33, 0.53, 0.22, 25.19, 19.71, 28.88, 56.23, 68.54), -4.77, 8.16),
}
PARTS = {"segmentation": slice(0, 2), "depth": slice(2, 4), "normals": slice(4, 9)}


def _by_task(row):
    return {task: dict(zip(NAMES[part], row[part], strict=True)) for task, part in PARTS.items()}


DIRECTIONS = {
    task: {name: "higher" if up else "lower" for name, up in zip(NAMES[part], UP[part], strict=True)}
    for task, part in PARTS.items()
}


@pytest.mark.parametrize("name", ROWS)
def test_both_deltas_on_published_rows(name):
    row, flat, task = ROWS[name]
    assert delta_flat(_by_task(row), _by_task(SINGLE), DIRECTIONS) == pytest.approx(flat, abs=0.06)
    assert delta_task(_by_task(row), _by_task(SINGLE), DIRECTIONS) == pytest.approx(task, abs=0.06)


def test_delta_by_hand():
    method, base = {"a": {"acc": 0.9}, "b": {"err": 0.1}}, {"a": {"acc": 0.6}, "b": {"err": 0.2}}
    directions = {"a": {"acc": "higher"}, "b": {"err": "lower"}}
    assert delta_task(method, base, directions) == pytest.approx(50)  # +50 % and half the error
    assert delta_flat(method, base, directions) == pytest.approx(-50)
    assert delta_task(base, base, directions) == 0


def test_half_width_is_scipys_interval():
    values = [3.1, 2.7, 3.6, 2.9, 3.3, 3.0]
    low, high = stats.t.interval(0.95, 5, np.mean(values), stats.sem(values))
    assert t_half_width(values) == pytest.approx((high - low) / 2)
    assert math.isnan(t_half_width([1.0]))


def test_intervals_cover():
    draws = np.random.default_rng(0).normal(size=(4000, 6))
    hits = [abs(row.mean()) <= t_half_width(list(row)) for row in draws]
    assert 0.94 <= np.mean(hits) <= 0.96
