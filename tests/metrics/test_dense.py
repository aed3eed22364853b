"""Metrics of maps over a set: by hand, the same for any batches, and not the average of batches."""

import math

import pytest
import torch
import torch.nn.functional as F
from fake_dense import TASKS

from mola.metrics import averageable, overall
from mola.metrics.accumulators import accumulator
from mola.types import Task

SEGMENTATION, DEPTH, NORMALS = TASKS


def measure(task, *batches):
    meter = accumulator(task)
    for predictions, targets in batches:
        meter.update(predictions, targets)
    return meter.compute()


def scores(labels, classes=3):
    return F.one_hot(torch.tensor(labels), classes).movedim(-1, 1).float()


def directions(degrees):
    """(1, 3, 1, W): unit vectors that lie so many degrees from the third axis."""
    angle = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angle.sin(), torch.zeros_like(angle), angle.cos()]).reshape(1, 3, 1, -1).float()


def test_segmentation_by_hand():
    # target 0 0 0 1 −1 | found 0 0 1 1 0: IoU of 0 is 2/3, of 1 is 1/2; class 2 does not occur
    result = measure(SEGMENTATION, (scores([[[0, 0, 1, 1, 0]]]), torch.tensor([[[0, 0, 0, 1, -1]]])))
    assert result["miou"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert result["pixel_accuracy"] == pytest.approx(3 / 4)


def test_a_class_that_is_found_where_it_is_not_costs_those_that_are():
    result = measure(SEGMENTATION, (scores([[[0, 2]]]), torch.tensor([[[0, 0]]])))
    assert result == {"miou": 0.5, "pixel_accuracy": 0.5}


def test_depth_by_hand():
    expected = torch.tensor([2.0, 4, 0, 1]).reshape(1, 1, 2, 2)
    given = torch.tensor([1.0, 5, 7, 1]).reshape(1, 1, 2, 2)
    result = measure(DEPTH, (given, expected))
    assert result["abs_error"] == pytest.approx(2 / 3)
    assert result["rel_error"] == pytest.approx((1 / 2 + 1 / 4 + 0) / 3)


def test_normals_by_hand():
    axis = directions([0.0] * 6)
    axis[..., 5] = 0  # unknown
    result = measure(NORMALS, (3 * directions([0.0, 10, 20, 29, 90, 120]), axis))
    assert result["mean_angle"] == pytest.approx((0 + 10 + 20 + 29 + 90) / 5, abs=1e-4)
    assert result["median_angle"] == pytest.approx(20, abs=6e-4)
    assert [result[f"within_{limit}"] for limit in (11, 22, 30)] == pytest.approx([2 / 5, 3 / 5, 4 / 5])


def test_the_median_of_an_even_number_is_between_the_middle_two():
    result = measure(NORMALS, (directions([1.0, 2, 4, 8]), directions([0.0] * 4)))
    assert result["median_angle"] == pytest.approx(3, abs=6e-4)


def test_the_median_is_exact_to_half_a_bin():
    angles = torch.rand(1001, generator=torch.Generator().manual_seed(0)).mul(180).tolist()
    result = measure(NORMALS, (directions(angles), directions([0.0] * 1001)))
    assert result["median_angle"] == pytest.approx(sorted(angles)[500], abs=6e-4)
    assert result["mean_angle"] == pytest.approx(sum(angles) / 1001, abs=1e-4)


def test_a_zero_prediction_is_at_a_right_angle_and_opposite_is_180():
    axis = directions([0.0])
    result = measure(NORMALS, (torch.cat([0 * axis, -axis]), torch.cat([axis, axis])))
    assert result["mean_angle"] == pytest.approx(135)


def test_small_angles_keep_their_digits():
    result = measure(NORMALS, (directions([0.01]), directions([0.0])))
    assert result["mean_angle"] == pytest.approx(0.01, abs=1e-5)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_over_the_set_whatever_the_batches_and_not_their_average(task):
    generator = torch.Generator().manual_seed(0)
    predictions = torch.randn(7, task.outputs, 5, 6, generator=generator)
    if task.kind == "segmentation":
        targets = torch.randint(0, 3, (7, 5, 6), generator=generator)
        targets[:3][targets[:3] == 2] = -1  # the first batch lacks a class and many pixels
    else:
        targets = torch.rand(7, task.outputs, 5, 6, generator=generator) + 0.1
        targets[:3, :, :4] = 0
        if task.kind == "normals":
            targets = F.normalize(targets, dim=1)
    parts = [(predictions[:3], targets[:3]), (predictions[3:], targets[3:])]
    whole = measure(task, (predictions, targets))
    assert measure(task, *parts) == pytest.approx(whole, rel=1e-12)
    assert measure(task, *parts[::-1]) == pytest.approx(whole, rel=1e-12)
    apart = [measure(task, part) for part in parts]
    for name in task.metrics:
        assert whole[name] != pytest.approx((apart[0][name] + apart[1][name]) / 2, rel=1e-3), name


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_what_diverged_or_has_no_valid_pixel_is_nan(task):
    target = (
        torch.ones(1, 2, 2, dtype=torch.int64) if task.kind == "segmentation" else torch.ones(1, task.outputs, 2, 2)
    )
    nothing = torch.full_like(target, -1 if task.kind == "segmentation" else 0)
    broken = torch.full((1, task.outputs, 2, 2), math.nan)
    fine = torch.randn(1, task.outputs, 2, 2)
    assert all(math.isnan(value) for value in measure(task, (fine, target), (broken, target)).values())
    assert all(math.isnan(value) for value in measure(task, (fine, nothing)).values())


ACCURATE = Task("a", "classes", 2, ("accuracy",))


def test_fractions_are_averaged():
    assert averageable([ACCURATE, SEGMENTATION])
    assert overall({"a": {"accuracy": 0.5}, "segmentation": {"miou": 0.7}}, [ACCURATE, SEGMENTATION]) == pytest.approx(
        0.6
    )


def test_other_units_meet_in_relative_improvements():
    tasks = [SEGMENTATION, DEPTH, NORMALS]
    assert not averageable(tasks)

    def of(miou, error, angle):
        return overall(
            {"segmentation": {"miou": miou}, "depth": {"abs_error": error}, "normals": {"mean_angle": angle}}, tasks
        )

    base = of(0.4, 0.5, 25)
    assert of(0.4 * 1.3, 0.5 / 1.1, 25 / 1.2) - base == pytest.approx(math.log(1.3 * 1.1 * 1.2) / 3)
    assert of(0.44, 0.5, 25 * 1.1) == pytest.approx(base)  # 10 % better here, 10 % worse there
    assert of(0.4, 50, 25) - of(0.44, 50, 25) == pytest.approx(of(0.4, 0.5, 25) - of(0.44, 0.5, 25))  # centimetres
    assert math.isfinite(of(0.0, 0.5, 25))
    assert of(0.0, 0.5, 25) < base
    assert math.isnan(of(0.4, math.nan, 25))
