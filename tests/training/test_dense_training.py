"""Training and evaluation where every image has every task."""

import math

import pytest
import torch
from fake_dense import FakeDense

from mola import registry
from mola.balancers.sum import Sum
from mola.config import Training
from mola.losses import task_losses
from mola.models.backbones import builder
from mola.training.evaluate import evaluate
from mola.training.fit import fit
from mola.training.seeding import seed_everything
from mola.types import Batch, Output

CPU = torch.device("cpu")


def method(name="shared", **options):
    torch.manual_seed(0)
    backbone = builder("test_resnet", {"output_stride": 8}, dense=True, head_width=8)
    return registry.load("methods", name).create(FakeDense.tasks, backbone, **options)


def test_metrics_and_loss_do_not_depend_on_the_batches():
    model, benchmark = method(), FakeDense({"train": 4, "valid": 5, "test": 2})
    one, two = (evaluate(model, benchmark, "valid", size=size, device=CPU, amp=False) for size in (1, 4))
    whole = next(benchmark.batches("valid", size=5, seed=0, epoch=0))
    x = benchmark.normalised(whole.x)
    with torch.no_grad():
        output = Output(model(Batch(x, None, whole.y, whole.tasks)).predictions)
    loss = task_losses(benchmark.tasks, output, whole)
    for task in benchmark.tasks:
        assert one[task.name] == pytest.approx(two[task.name], rel=1e-5)
        assert one[task.name]["loss"] == pytest.approx(loss[task.name].item(), rel=1e-5)
        assert list(one[task.name]) == [*task.metrics, "loss"]


class Uneven(FakeDense):
    """All but a few pixels of the first image are unknown."""

    def item(self, split, index):
        x, *targets = super().item(split, index)
        if index == 0:
            for target, unknown in zip(targets, (-1, 0, 0), strict=True):
                target[..., 1:, :] = unknown
        return x, *targets


def test_the_loss_weighs_pixels_not_batches():
    model, benchmark = method(), Uneven({"train": 4, "valid": 2, "test": 2})
    one, two = (evaluate(model, benchmark, "valid", size=size, device=CPU, amp=False) for size in (1, 2))
    for task in benchmark.tasks:
        assert one[task.name] == pytest.approx(two[task.name], rel=1e-5)


def test_evaluation_keeps_no_map(monkeypatch):
    from mola.metrics import accumulators

    benchmark = []

    def spy(task):
        benchmark.append(accumulators.accumulator(task))
        return benchmark[-1]

    monkeypatch.setattr("mola.training.evaluate.accumulator", spy)
    evaluate(method(), FakeDense(), "valid", size=4, device=CPU, amp=False)
    pixels = FakeDense.height * FakeDense.width
    for kept in benchmark:
        tensors = [value for value in vars(kept).values() if isinstance(value, torch.Tensor | list)]
        assert all(isinstance(value, torch.Tensor) and value.numel() in (9, 3, 180_000) for value in tensors)
        assert all(value.numel() % pixels for value in tensors)


def test_a_dense_run_learns_selects_and_ends_with_finite_test_metrics(tmp_path):
    seed_everything(0, deterministic=True)
    model, benchmark = method("mola_grad", where=r"layer[34]\..*conv\d"), FakeDense()
    training = Training(epochs=6, batch_size=4, lr=3e-3, schedule="constant")
    outcome = fit(
        model, Sum.create(), benchmark, training, seed=0, device=CPU, path=tmp_path / "checkpoint.pt", fingerprint="f"
    )
    first, last = (sum(outcome.curve[i]["train"].values()) for i in (0, -1))
    assert last < 0.8 * first
    assert all(math.isfinite(v) for metrics in outcome.test.values() for v in metrics.values())
    best = outcome.curve[outcome.selected["model"] - 1]["valid"]
    assert outcome.valid["depth"]["abs_error"] == pytest.approx(best["depth"]["abs_error"], rel=1e-6)
