"""Every registered method passes through here on arrival."""

import pytest
import torch
from building import build

from mola import registry
from mola.balancers.sum import Sum
from mola.losses import task_losses
from mola.training.loading import load
from mola.types import Batch, Range

METHODS = registry.names("methods")


@pytest.fixture
def batch(digits):
    return next(iter(load(digits, "train", torch.device("cpu"), size=16)))


def loss_of(method, tasks, batch):
    output = method(batch)
    losses = task_losses(tasks, output, batch)
    return losses, output


@pytest.mark.parametrize("name", METHODS)
def test_predictions_for_every_task_present(name, digits, batch):
    method = build(name, digits.tasks)
    output = method(batch)
    assert set(output.predictions) == set(batch.y)
    for task in digits.tasks:
        assert output.predictions[task.name].shape == (len(batch.y[task.name]), task.outputs)
    if output.routing is not None:
        torch.testing.assert_close(output.routing.sum(1), torch.ones(len(batch.x)))


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_may_lack_tasks(name, digits, batch):
    method, kept = build(name, digits.tasks), batch.rows("optdigits")
    alone = Batch(batch.x[kept], batch.task[kept], {"optdigits": batch.y["optdigits"]}, batch.tasks)
    assert set(method(alone).predictions) == {"optdigits"}


@pytest.mark.parametrize("name", METHODS)
def test_samples_of_other_tasks_do_not_change_a_prediction_in_eval(name, digits, batch):
    method = build(name, digits.tasks).eval()
    kept = batch.rows("mnist")
    alone = Batch(batch.x[kept], batch.task[kept], {"mnist": batch.y["mnist"]}, batch.tasks)
    torch.testing.assert_close(
        method(batch).predictions["mnist"], method(alone).predictions["mnist"], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_learns_and_belongs_to_one_side(name, digits, batch):
    method = build(name, digits.tasks)
    for parameter in method.parameters():  # B = 0 hides the gradient of A, and zero gates that of the router
        if (parameter == 0).all():
            torch.nn.init.normal_(parameter, std=0.1)
    losses, output = loss_of(method, digits.tasks, batch)
    own, shared = method.own_parameters(), method.shared_parameters()
    assert {id(p) for p in own}.isdisjoint({id(p) for p in shared})
    assert {id(p) for p in own} | {id(p) for p in shared} == {id(p) for p in method.parameters()}
    Sum().backward(losses, output.penalty, shared, own)
    silent = [key for key, p in method.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


@pytest.mark.parametrize("name", METHODS)
def test_shared_means_that_every_task_reaches_it(name, digits, batch):
    method = build(name, digits.tasks)
    for parameter in method.parameters():
        if (parameter == 0).all():
            torch.nn.init.normal_(parameter, std=0.1)
    losses, _ = loss_of(method, digits.tasks, batch)
    shared = [p for p in method.shared_parameters() if p.requires_grad]
    projection = {
        id(p) for p in getattr(method, "projection", torch.nn.Identity()).parameters()
    }  # TwD alone reaches it
    for task, loss in losses.items():
        if shared:
            gradients = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
            missed = [
                tuple(p.shape) for p, g in zip(shared, gradients, strict=True) if g is None and id(p) not in projection
            ]
            assert missed == [], task


@pytest.mark.parametrize("name", METHODS)
def test_parts_cover_all_tasks_once(name, digits):
    method = build(name, digits.tasks)
    covered = [task for _, tasks in method.parts().values() for task in tasks]
    assert sorted(covered) == sorted(task.name for task in digits.tasks)
    in_parts = {id(p) for module, _ in method.parts().values() for p in module.parameters()}
    assert in_parts == {id(p) for p in method.parameters()}


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_weights_and_state_round_trip(name, digits, batch):
    one, two, other = build(name, digits.tasks), build(name, digits.tasks), build(name, digits.tasks, seed=1)
    for key, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[key]), key
    other.load_state_dict(one.state_dict())
    for task in digits.tasks:
        torch.testing.assert_close(other.eval()(batch).predictions[task.name], one.eval()(batch).predictions[task.name])


@pytest.mark.parametrize("name", METHODS)
def test_search_space_names_options_whose_values_are_accepted(name):
    cls, known = registry.load("methods", name), registry.option_names("methods", name)
    assert set(cls.search_space) <= set(known)
    for key, space in cls.search_space.items():
        ends = (space.low, space.high) if isinstance(space, Range) else space
        for value in ends:
            registry.check_options("methods", name, {key: value}, name)
