"""Losses of maps: by hand, masked, never NaN, and with a deterministic backward."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from fake_dense import TASKS, FakeDense

from mola.losses import counted, task_losses
from mola.types import Batch, Output


def losses(predictions, y):
    size = len(next(iter(y.values())))
    batch = Batch(torch.zeros(size, 3, 2, 2), None, y, tuple(task.name for task in TASKS))
    return task_losses(TASKS, Output(predictions), batch)


def test_by_hand():
    logits = torch.tensor([[2.0, 0, 1], [0, 1, 5], [0, 0, 5]]).T.reshape(1, 3, 1, 3)  # three pixels
    depth, predicted = torch.tensor([2.0, 0, 4]).reshape(1, 1, 1, 3), torch.tensor([1.5, 9, 6]).reshape(1, 1, 1, 3)
    normals = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 1]]).T.reshape(1, 3, 1, 3)
    given = torch.tensor([[5.0, 0, 0], [7, 7, 7], [0, 3, 3]]).T.reshape(1, 3, 1, 3)
    y = {"segmentation": torch.tensor([[[0, 1, -1]]]), "depth": depth, "normals": normals}
    ours = losses({"segmentation": logits, "depth": predicted, "normals": given}, y)
    first = math.log(math.exp(2) + 1 + math.exp(1)) - 2
    second = math.log(1 + math.exp(1) + math.exp(5)) - 1
    assert ours["segmentation"].item() == pytest.approx((first + second) / 2)
    assert ours["depth"].item() == pytest.approx((0.5 + 2) / 2)
    assert ours["normals"].item() == pytest.approx(1 - (1 + math.sqrt(0.5)) / 2)


def test_pixels_as_samples_are_torchs_cross_entropy_of_maps():
    logits = torch.randn(2, 5, 6, 7, requires_grad=True)
    target = torch.randint(-1, 5, (2, 6, 7))
    ours = losses({"segmentation": logits}, {"segmentation": target})["segmentation"]
    theirs = F.cross_entropy(logits, target, ignore_index=-1)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, logits)[0], torch.autograd.grad(theirs, logits)[0])


def test_without_a_valid_pixel_the_loss_and_its_gradient_are_zero():
    y = {
        "segmentation": torch.full((2, 4, 4), -1),
        "depth": torch.zeros(2, 1, 4, 4),
        "normals": torch.zeros(2, 3, 4, 4),
    }
    predictions = {
        task.name: torch.randn(2, task.outputs, 4, 4).mul(i).requires_grad_() for i, task in enumerate(TASKS)
    }
    predictions["normals"].data[0] = 0  # the direction of a zero vector is no reason for NaN
    for name, loss in losses(predictions, y).items():
        loss.backward()
        assert loss == 0, name
        assert (predictions[name].grad == 0).all(), name


def test_unknown_pixels_reach_nothing():
    batch = next(FakeDense().batches("train", size=3, seed=0, epoch=0))
    predictions = {task.name: torch.randn(3, task.outputs, 24, 32, requires_grad=True) for task in TASKS}
    losses = task_losses(TASKS, Output(predictions), batch)
    for task in TASKS:
        known = counted(task, batch.y[task.name])
        assert known.sum() == 3 * 24 * 29
        (gradient,) = torch.autograd.grad(losses[task.name], predictions[task.name])
        assert (gradient[:, :, :, :3] == 0).all()
        assert (gradient[:, :, :, 3:] != 0).any(1).all()


def test_fp32_under_autocast():
    batch = next(FakeDense().batches("train", size=2, seed=0, epoch=0))
    predictions = {task.name: torch.randn(2, task.outputs, 24, 32).bfloat16() for task in TASKS}
    plain = task_losses(TASKS, Output(predictions), batch)
    with torch.autocast("cpu", torch.bfloat16):
        inside = task_losses(TASKS, Output(predictions), batch)
    for name, loss in plain.items():
        assert loss.dtype == torch.float32
        assert torch.equal(loss, inside[name])


def test_a_task_that_is_absent_has_no_loss():
    batch = next(FakeDense().batches("train", size=2, seed=0, epoch=0))
    losses = task_losses(
        TASKS, Output({"depth": torch.zeros(2, 1, 24, 32)}), replace(batch, y={"depth": batch.y["depth"]})
    )
    assert list(losses) == ["depth"]
