"""Batches in parts add up, and single samples pass BatchNorm."""

import pytest
import torch
from fake_labels import FakeLabels, FakeMixed
from torch import nn

from mola.config import load
from mola.experiment import run as runs
from mola.experiment.spec import experiment
from mola.methods.shared import Shared
from mola.registry import create
from mola.training import single_values
from mola.training.loading import load as batches
from mola.training.step import TrainingStep


class Plain(nn.Module):
    """Features (B, 8) of images, each by itself."""

    num_features = 8

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 16 * 16, 8)

    def forward(self, x):
        return self.layer(x.flatten(1)).tanh()


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("data", [FakeLabels(), FakeMixed()], ids=["every task", "one task"])
def test_the_update_of_parts_is_that_of_the_batch(data, share):
    """In fp64, where a third of the targets is missing, with parts that lack a task."""
    batch = next(batches(data, "train", torch.device("cpu"), size=6))
    losses, weights = [], []
    for parts in (1, 2, 3, 6):
        torch.manual_seed(0)
        method = Shared.create(data.tasks, Plain).double()
        step = TrainingStep(
            method,
            create("balancers", "sum", data.tasks, None, options={}),
            torch.optim.SGD(method.parameters(), 1.0),
            data.tasks,
            share=share,
        )
        step.parts = parts
        losses.append(step(batch.__class__(batch.x.double(), batch.task, batch.y, batch.tasks, None, batch.empty)))
        weights.append(torch.cat([p.detach().flatten() for p in method.parameters()]))
    for loss, weight in zip(losses, weights, strict=True):
        assert list(loss) == list(losses[0])
        assert all(torch.allclose(loss[name], losses[0][name], rtol=1e-5) for name in loss)
        assert torch.allclose(weight, weights[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", ["shared", "task"])
@pytest.mark.parametrize("sampling", ["balanced", "proportional"])
def test_single_samples_under_batchnorm_end_no_run(suite_file, norm, sampling):
    row = {"single_task": None} if norm == "shared" else {"shared": {"norm": "task"}}
    training = {"epochs": 1, "batch_size": 5, "lr": 0.002, "sampling": sampling}
    suite = load(suite_file(methods=row, training=training))
    record = runs.train(experiment(suite, "digits", next(iter(row))), 0)
    assert record.status == "done", record.reason


def test_a_guarded_layer_keeps_its_statistics_for_a_single_value_and_changes_nothing_else():
    torch.manual_seed(0)
    layers = [nn.BatchNorm2d(3) for _ in range(2)]
    single_values.guard(layers[0])
    x = torch.randn(4, 3, 1, 1)
    assert torch.equal(layers[0](x), layers[1](x))
    before = layers[0].running_mean.clone()
    y = layers[0](x[:1])
    assert torch.equal(layers[0].running_mean, before) and layers[0].training and y.isfinite().all()
    with pytest.raises(ValueError, match="more than 1 value"):
        layers[1](x[:1])
