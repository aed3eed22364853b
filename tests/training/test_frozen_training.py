"""Training with frozen stages: what stays, and what learns."""

import pytest
import torch
from cached_runs import CPU, built, section, write_weights

from mola import registry
from mola.config import load as load_suite
from mola.models.frozen_stages import prefix_state
from mola.training.loading import load
from mola.training.optim import make_optimizer
from mola.training.step import TrainingStep
from mola.types import BadInput

METHODS = [name for name in registry.names("methods") if name != "chance"]


def backbones(method):
    return {name: module for name, module in method.named_modules() if hasattr(module, "frozen_stages")}


WITH_NORMS = [name for name in METHODS if "norm" in registry.option_names("methods", name)]


@pytest.mark.parametrize(
    ("name", "norm"),
    [(name, "shared") for name in METHODS]
    + [(name, "task") for name in WITH_NORMS if name not in ("single_task", "linear_probe")],
)
def test_what_is_frozen_stays_bit_for_bit_and_the_rest_moves(name, norm, suite_file, tmp_path, data_root):
    options = {"where": r"layer\d\..*conv\d", "router_width": 4, "warmup": 0, "norm": norm}
    suite = load_suite(
        suite_file(
            backbone=section(write_weights(tmp_path / "weights.pth")), methods={name: None}, shared_options=options,
            training={"batch_size": 16, "lr": 0.01, "weight_decay": 0.1},
        )
    )  # fmt: skip
    settings = suite.settings("digits", name)
    benchmark, method, balancer = built(settings, data_root)
    before = {key: value.clone() for key, value in method.state_dict().items()}
    frozen = {
        f"{place}.{key}": value
        for place, module in backbones(method).items()
        for key, value in prefix_state(module).items()
    }
    assert frozen and any("running_mean" in key for key in frozen)
    assert all(key.split(".layer", 1)[-1][0] in "12" or ".layer" not in key for key in frozen)
    step = TrainingStep(method, balancer, make_optimizer(settings.training, [*method.parameters()]), benchmark.tasks)
    method.train()
    for _, batch in zip(range(3), load(benchmark, "train", CPU, size=16), strict=False):
        step(batch)
    after = method.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in frozen)
    assert all(parameter.grad is None for parameter in method.parameters() if not parameter.requires_grad)
    if name != "linear_probe":
        places = {
            key.split(".layer")[-1][0]
            for key in after
            if not torch.equal(after[key], before[key]) and ".layer" in key and "norms.layers" not in key
        }
        assert places == {"3", "4"}
    assert any(
        not torch.equal(after[key], before[key]) for key in after if "running_mean" in key and key not in frozen
    ) or (name == "linear_probe")


@pytest.mark.parametrize("balancer", registry.names("balancers"))
def test_balancers_leave_it_alone(balancer, suite_file, tmp_path, data_root):
    suite = load_suite(suite_file(backbone=section(write_weights(tmp_path / "weights.pth")), balancer=balancer))
    settings = suite.settings("digits", "shared")
    benchmark, method, balance = built(settings, data_root)
    parameters = [*method.parameters(), *balance.parameters()]
    step = TrainingStep(method, balance, make_optimizer(settings.training, parameters), benchmark.tasks)
    before = {key: value.clone() for key, value in prefix_state(method.backbone).items()}
    step(next(iter(load(benchmark, "train", CPU, size=16))))
    assert all(torch.equal(value, before[key]) for key, value in prefix_state(method.backbone).items())
    assert method.backbone.layer3[0].conv1.weight.grad.abs().sum() > 0


def test_dense_tasks_freeze_too(suite_file, tmp_path, data_root):
    backbone = section(write_weights(tmp_path / "weights.pth"), head_width=8)
    suite = load_suite(suite_file(benchmarks={"scenes": {"limit": 4}}, backbone=backbone))
    benchmark, method, _ = built(suite.settings("scenes", "shared"), data_root)
    method.train()
    assert not method.backbone.layer2.training and not method.backbone.layer1[0].bn1.training
    assert method.backbone.layer3[0].bn1.training and method.training
    before = method.backbone.bn1.running_mean.clone()
    method(next(iter(load(benchmark, "train", CPU, size=2))))
    assert torch.equal(method.backbone.bn1.running_mean, before)


@pytest.mark.parametrize("name", ["mtan", "ltb", "cross_stitch", "ple"])
def test_methods_between_stages_say_when_none_is_left(name, suite_file, tmp_path, data_root):
    backbone = section(write_weights(tmp_path / "weights.pth"), freeze_stages=4)
    suite = load_suite(suite_file(backbone=backbone, methods={name: None}, shared_options={}))
    with pytest.raises(BadInput, match=r"backbone\.freeze_stages: expected at most 3 .* found 4"):
        built(suite.settings("digits", name), data_root)
