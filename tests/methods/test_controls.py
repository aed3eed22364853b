"""The controls that bound every table: one does not look, the other's backbone does not learn."""

import pytest
import torch
from building import build
from fake_dense import TASKS, FakeDense

from mola.balancers.sum import Sum
from mola.config import Training
from mola.losses import task_losses
from mola.training.fit import make_optimizer
from mola.training.loading import load
from mola.types import Batch, Task


def trained(method, tasks, batches, lr=0.01):
    optimizer = make_optimizer(Training(lr=lr), list(method.parameters()))
    for batch in batches:
        optimizer.zero_grad()
        output = method(batch)
        Sum.create().backward(
            task_losses(tasks, output, batch), None, method.shared_parameters(), method.own_parameters()
        )
        optimizer.step()
    return method


def test_chance_learns_the_frequencies_of_the_classes():
    task = Task("one", "classes", 3, {"accuracy": "higher"})
    batch = Batch(torch.randn(10, 3, 8, 8), torch.zeros(10), {"one": torch.tensor([0] * 7 + [1] * 2 + [2])}, ("one",))
    method = trained(build("chance", [task]), [task], [batch] * 60)
    actual = method(batch).predictions["one"]
    torch.testing.assert_close(actual.softmax(1), torch.tensor([[0.7, 0.2, 0.1]]).expand(10, 3), atol=0.02, rtol=0)


def test_chance_learns_the_median_depth():
    benchmark = FakeDense()
    batches = [b for epoch in range(20) for b in load(benchmark, "train", torch.device("cpu"), size=8, epoch=epoch)]
    method = trained(build("chance", TASKS), TASKS, batches)
    depths = torch.cat([batch.y["depth"].flatten() for batch in batches])
    actual = method(batches[0]).predictions["depth"].detach()
    assert (actual == actual[0, 0, 0, 0]).all()
    assert float((actual[0, 0, 0, 0] - depths[depths > 0].median()).abs()) < 0.15


@pytest.mark.parametrize("name", ["chance", "linear_probe"])
def test_controls_do_not_change_what_is_shared(name, digits):
    method = build(name, digits.tasks)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    batches = list(load(digits, "train", torch.device("cpu"), size=16))
    trained(method.train(), digits.tasks, batches)
    changed = {key.split(".")[0] for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == ({"constants"} if name == "chance" else {"heads"})
    assert method.shared_parameters() == []


def test_a_probe_reads_the_features_of_evaluation(digits):
    batch = next(iter(load(digits, "train", torch.device("cpu"), size=16)))
    probe, plain = build("linear_probe", digits.tasks).train(), build("shared", digits.tasks).eval()
    plain.heads.load_state_dict(probe.heads.state_dict())
    for name, actual in probe(batch).predictions.items():
        torch.testing.assert_close(actual, plain(batch).predictions[name])
        assert actual.requires_grad
    assert probe.heads.training and not any(module.training for module in probe.backbone.modules())
