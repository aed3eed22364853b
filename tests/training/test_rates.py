"""A learning rate for each part of a method: as separate optimisers would step, and none for what is no part."""

import pytest
import torch
from torch import nn

from mola.sections import Training
from mola.training.optim import make_optimizer, make_schedule
from mola.types import BadInput

RATES = {"one": 0.5, "two": 0.25, "three": 0.5}


class ThreeParts(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 2)

    def parts(self):
        return {name: (part, (name,)) for name, part in self.named_children()}

    def forward(self, x):
        return sum((part(x) ** 2).sum() for part in self.children())


def stepped(training, optimizers, method, epochs=5):
    """The method's weights after steps on the same data, the schedule after each."""
    draws = torch.Generator().manual_seed(1)
    schedules = [make_schedule(training, optimizer) for optimizer in optimizers]
    for _ in range(epochs):
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        method(torch.randn(4, 3, generator=draws)).backward()
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
    return {name: value.detach().clone() for name, value in method.state_dict().items()}


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
def test_rates_by_part_are_separate_optimisers(kind, schedule):
    how = {"optimizer": kind, "schedule": schedule, "step_epochs": 2, "epochs": 5, "weight_decay": 0.01}
    together = Training(lr=RATES, **how)
    torch.manual_seed(0)
    method = ThreeParts()
    start = {name: value.clone() for name, value in method.state_dict().items()}
    optimizer = make_optimizer(together, list(method.parameters()), method.parts())
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.25]
    actual = stepped(together, [optimizer], method)
    method.load_state_dict(start)
    apart = [
        make_optimizer(Training(lr=rate, **how), list(getattr(method, name).parameters()))
        for name, rate in RATES.items()
    ]
    expected = stepped(together, apart, method)
    assert all(torch.equal(actual[name], value) for name, value in expected.items())
    assert not torch.equal(actual["two.weight"], start["two.weight"])


def test_what_belongs_to_no_part_takes_the_lowest_rate():
    method, weight = ThreeParts(), nn.Parameter(torch.zeros(()))
    optimizer = make_optimizer(Training(lr=RATES), [*method.parameters(), weight], method.parts())
    (rate,) = [group["lr"] for group in optimizer.param_groups if any(p is weight for p in group["params"])]
    assert rate == 0.25
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 7


def test_one_number_is_one_group():
    method = ThreeParts()
    (group,) = make_optimizer(Training(lr=0.5), list(method.parameters()), method.parts()).param_groups
    assert group["lr"] == 0.5 and len(group["params"]) == 6


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({**RATES, "four": 1.0}, "training.lr: expected .* each of the method's parts, one, two, three; found four"),
        ({"one": 0.5, "two": 0.5}, "training.lr: expected .* one, two, three; found none for three"),
    ],
)
def test_rates_of_other_parts_are_refused(rates, message):
    method = ThreeParts()
    with pytest.raises(BadInput, match=message):
        make_optimizer(Training(lr=rates), list(method.parameters()), method.parts())


def test_a_run_with_rates_of_no_part_is_refused_before_anything_is_written(suite_file):
    from mola.config import load
    from mola.experiment.run import train
    from mola.experiment.spec import experiment

    suite = load(suite_file(methods={"shared": {"training": {"lr": {"mnist": 0.1}}}}))
    with pytest.raises(BadInput, match=r"training.lr: expected a number, .* found mnist"):
        train(experiment(suite, "digits", "shared"), 0)
    assert not suite.folder.exists()
