"""Losses of classes, labels and numbers of whole images: what is missing counts for nothing, in value and gradient."""

import math

import pytest
import torch
import torch.nn.functional as F

from mola.losses import task_losses, without_targets
from mola.types import Batch, Output, Task

SPECIES = Task("t", "classes", 3, ("accuracy",))
DEFECTS = Task("t", "multilabel", 3, ("auc",))
HEIGHT = Task("t", "regression", 1, ("r2",), 170.0, 25.0)


def loss_of(task, predictions, target, share=False, images=None, **more):
    batch = Batch(torch.zeros(images or len(target), 1), None, {"t": target}, ("t",), **more)
    return task_losses([task], Output({"t": predictions}), batch, share)


def predictions_of(task, number=8):
    return torch.randn(number, task.outputs, generator=torch.Generator().manual_seed(1)).requires_grad_()


def targets_of(task, number=8):
    """(B_t, …), and which of them are to go missing."""
    generator = torch.Generator().manual_seed(2)
    if task.kind == "classes":
        return torch.randint(3, (number,), generator=generator), torch.arange(number) % 3 == 0
    if task.kind == "multilabel":
        draws = torch.rand(number, 3, generator=generator)
        return (draws > 0.5).float(), draws.frac() * 10 % 1 < 0.4
    return 170 + 60 * torch.randn(number, generator=generator), torch.arange(number) % 3 == 0


def plain(task, predictions, target, known):
    """The definition, over what is known."""
    if task.kind == "classes":
        return F.cross_entropy(predictions[known], target[known])
    if task.kind == "multilabel":
        return F.binary_cross_entropy_with_logits(predictions[known], target[known])
    error = (predictions[:, 0] - (target - task.mean) / task.std)[known].abs()
    return torch.where(error < 1, error.square() / 2, error - 0.5).mean()


@pytest.mark.parametrize("task", [SPECIES, DEFECTS, HEIGHT], ids=lambda task: task.kind)
@pytest.mark.parametrize("sign", [-1.0, math.nan])
def test_the_mean_is_over_what_is_known(task, sign):
    predictions, (target, gaps) = predictions_of(task), targets_of(task)
    expected = plain(task, predictions, target, ~gaps)
    (slope,) = torch.autograd.grad(expected, predictions)
    target[gaps] = -1 if task.kind == "classes" else sign if task.kind == "multilabel" else math.nan
    ours = loss_of(task, predictions, target)["t"]
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(torch.autograd.grad(ours, predictions)[0], slope)
    assert gaps.any() and not gaps.all()


@pytest.mark.parametrize("task", [SPECIES, DEFECTS, HEIGHT], ids=lambda task: task.kind)
def test_nothing_known_is_no_loss_or_one_without_gradient(task):
    predictions, (target, _) = predictions_of(task), targets_of(task)
    target.fill_(-1 if task.kind == "classes" else math.nan)
    loss = loss_of(task, predictions, target)["t"]
    assert loss == 0 and not torch.autograd.grad(loss, predictions)[0].any()
    batch = without_targets([task], Batch(torch.zeros(8, 1), None, {"t": target}, ("t",)))
    assert batch.empty == {"t"} and loss_of(task, predictions, target, empty=batch.empty) == {}
    known = without_targets([task], Batch(torch.zeros(8, 1), None, {"t": targets_of(task)[0]}, ("t",)))
    assert known.empty == frozenset()


def test_a_column_is_a_row():
    predictions, (target, _) = predictions_of(HEIGHT), targets_of(HEIGHT)
    one, other = (loss_of(HEIGHT, predictions, t)["t"] for t in (target, target[:, None]))
    assert torch.equal(one, other)


def test_the_unit_of_a_number_does_not_matter():
    predictions, (target, _) = predictions_of(HEIGHT), targets_of(HEIGHT)
    millimetres = Task("t", "regression", 1, ("r2",), 1700.0, 250.0)
    torch.testing.assert_close(
        loss_of(HEIGHT, predictions, target)["t"], loss_of(millimetres, predictions, 10 * target)["t"]
    )


def test_an_outlier_pulls_no_harder_than_one_standard_deviation():
    predictions, target = torch.zeros(2, 1, requires_grad=True), torch.tensor([170.0 + 25, 1e6])
    (slope,) = torch.autograd.grad(loss_of(HEIGHT, predictions, target)["t"], predictions)
    assert slope[0] == slope[1] == -0.5


@pytest.mark.parametrize("task", [SPECIES, DEFECTS, HEIGHT], ids=lambda task: task.kind)
def test_a_share_is_that_of_the_samples_with_a_target(task):
    predictions, (target, _) = predictions_of(task), targets_of(task)
    target[:2] = -1 if task.kind == "classes" else math.nan
    whole = loss_of(task, predictions, target)["t"]
    torch.testing.assert_close(loss_of(task, predictions, target, True, images=24)["t"], whole * 6 / 24)
