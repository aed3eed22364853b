import math

import numpy as np
import pytest
from scipy import stats

from mola.benchmarks._single_input import dense_tasks
from mola.reporting.statistics import delta_flat, delta_task, t_half_width
from mola.types import Task

# NYUv2, SegNet: single-task constants and rows as printed by Nash-MTL and others (docs/protocol.md)
SINGLE = (38.30, 63.76, 0.6754, 0.2780, 25.01, 19.21, 30.14, 57.20, 69.15)
ROWS = {
    "equal weights": ((39.29, 65.33, 0.5493, 0.2263, 28.15, 23.96, 22.09, 47.50, 61.08), 5.59, 0.88),
    "Nash-MTL": ((40.13, 65.93, 0.5261, 0.2171, 25.26, 20.08, 28.40, 55.47, 68.15), -4.05, 7.65),
    "Aligned-MTL": ((40.82, 66.33, 0.53, 0.22, 25.19, 19.71, 28.88, 56.23, 68.54), -4.77, 8.16),
}
TASKS = dense_tasks(13)


def _by_task(row):
    values = iter(row)
    return {task.name: {metric: next(values) for metric in task.metrics} for task in TASKS}


@pytest.mark.parametrize("name", ROWS)
def test_both_deltas_on_published_rows(name):
    row, flat, task = ROWS[name]
    assert delta_flat(_by_task(row), _by_task(SINGLE), TASKS) == pytest.approx(flat, abs=0.06)
    assert delta_task(_by_task(row), _by_task(SINGLE), TASKS) == pytest.approx(task, abs=0.06)


def test_delta_by_hand():
    tasks = (Task("a", "classes", 2, ("accuracy",)), Task("b", "depth", 1, ("abs_error",)))
    method = {"a": {"accuracy": 0.9}, "b": {"abs_error": 0.1}}
    base = {"a": {"accuracy": 0.6}, "b": {"abs_error": 0.2}}
    assert delta_task(method, base, tasks) == pytest.approx(50)  # +50 % and half the error
    assert delta_flat(method, base, tasks) == pytest.approx(-50)
    assert delta_task(base, base, tasks) == 0


def test_a_reference_of_zero_alone_has_no_gain():
    """However small another one is, it divides."""
    tasks = (Task("b", "depth", 1, ("abs_error",)),)

    def delta(base):
        return delta_task({"b": {"abs_error": 0.5}}, {"b": {"abs_error": base}}, tasks)

    assert math.isnan(delta(0.0))
    assert delta(1e-12) == pytest.approx(-100 * (0.5 - 1e-12) / 1e-12)
    assert delta(5e-324) == -math.inf


def test_half_width_is_scipys_interval():
    values = [3.1, 2.7, 3.6, 2.9, 3.3, 3.0]
    low, high = stats.t.interval(0.95, 5, np.mean(values), stats.sem(values))
    assert t_half_width(values) == pytest.approx((high - low) / 2)
    assert math.isnan(t_half_width([1.0]))


def test_intervals_cover():
    draws = np.random.default_rng(0).normal(size=(4000, 6))
    hits = [abs(row.mean()) <= t_half_width(list(row)) for row in draws]
    assert 0.94 <= np.mean(hits) <= 0.96
