import math

import pytest
import torch
from torch import nn

from mola.training.selection import Selection
from mola.types import Task

TASKS = (
    Task("up", "classes", 2, ("accuracy",)),
    Task("down", "depth", 1, ("abs_error",)),
)


class TwoParts(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(1, 1), nn.Linear(1, 1)

    def parts(self):
        return {"one": (self.one, ("up",)), "two": (self.two, ("down",))}


def test_each_part_picks_its_own_earliest_best():
    method = TwoParts()
    selection = Selection(method, TASKS)
    for epoch, (up, down) in enumerate([(0.5, 3.0), (0.7, 2.0), (0.7, 2.5), (0.1, 2.0)], start=1):
        nn.init.constant_(method.one.weight, epoch)
        nn.init.constant_(method.two.weight, epoch)
        selection.update(epoch, {"up": {"accuracy": up}, "down": {"abs_error": down}})
    assert selection.restore() == {"one": 2, "two": 2}
    assert method.one.weight.item() == 2
    assert method.two.weight.item() == 2


def test_nan_is_never_best_and_no_finite_epoch_is_an_error():
    method = TwoParts()
    selection = Selection(method, TASKS)
    selection.update(1, {"up": {"accuracy": 0.2}, "down": {"abs_error": math.nan}})
    selection.update(2, {"up": {"accuracy": math.nan}, "down": {"abs_error": math.nan}})
    with pytest.raises(ArithmeticError, match="no epoch gave finite validation metrics for down"):
        selection.restore()
    assert selection.best["one"]["epoch"] == 1


def test_a_snapshot_is_a_copy():
    method = TwoParts()
    selection = Selection(method, TASKS)
    selection.update(1, {"up": {"accuracy": 1.0}, "down": {"abs_error": 1.0}})
    with torch.no_grad():
        method.one.weight.add_(1)
    assert not torch.equal(selection.best["one"]["state"]["weight"], method.one.weight)


class OnePart(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def parts(self):
        return {"model": (self, ("up", "down"))}


def test_tasks_of_several_units_meet_in_relative_improvements():
    selection = Selection(OnePart(), TASKS)
    for epoch, (up, down) in enumerate([(0.50, 0.30), (0.60, 0.30), (0.61, 0.40), (0.58, 0.29)], start=1):
        selection.update(epoch, {"up": {"accuracy": up}, "down": {"abs_error": down}})
    assert selection.best["model"]["epoch"] == 2  # 0.60/0.30 = 2 beats 0.58/0.29 = 2 as the earlier; 0.61/0.40 is less
