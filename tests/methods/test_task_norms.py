"""``norm: task``: in every method, each sample meets the BatchNorm layers of its task, and nothing else changes."""

import copy
import subprocess
import sys

import pytest
import torch
from building import TASKS, batch_of_mixed_tasks, build
from torch import nn

import mola
from mola import registry
from mola.balancers.sum import Sum
from mola.layers.adapter import LowRankConv2d
from mola.layers.norms import TaskBatchNorm
from mola.losses import task_losses
from mola.methods import Method
from mola.methods.shared import Shared
from mola.models.backbones import builder
from mola.training.cost import flops_per_sample, parameter_counts
from mola.training.loading import load
from mola.types import BadInput, Batch

REFUSING = {"single_task": "a network of its own", "linear_probe": "does not learn", "chance": "no backbone"}
METHODS = [name for name in registry.names("methods") if name not in REFUSING]
PASSES = 30  # within which a method that draws has drawn everything


@pytest.fixture
def batch(digits):
    return next(iter(load(digits, "train", torch.device("cpu"), size=16)))


def live(method):
    """Nothing at zero, and other statistics and parameters for every task."""
    for parameter in method.parameters():
        if (parameter == 0).all():
            nn.init.normal_(parameter, std=0.1)
    for layer in method.task_norms.layers:
        for norm in layer.values():
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.3)
            norm.running_mean.normal_(std=0.3)
            norm.running_var.uniform_(0.5, 2)
    return method


def rows_of(batch, rows):
    """A batch of some samples, of as many tasks as they have."""
    y = {
        name: batch.y[name][torch.isin(torch.arange(len(batch.x))[batch.rows(name)], rows)]
        for number, name in enumerate(batch.tasks)
        if (batch.task[rows] == number).any()
    }
    return Batch(batch.x[rows], batch.task[rows], y, batch.tasks)


def shuffled(batch):
    order = torch.randperm(len(batch.x))
    everyone = torch.arange(len(batch.x))
    whole = torch.zeros(len(batch.x), dtype=torch.int64)
    for name, target in batch.y.items():
        whole[everyone[batch.rows(name)]] = target
    task = batch.task[order]
    y = {name: whole[order][task == number] for number, name in enumerate(batch.tasks) if name in batch.y}
    return Batch(batch.x[order], task, y, batch.tasks)


@pytest.mark.parametrize("order", ["sorted", "unsorted"])
@pytest.mark.parametrize("name", METHODS)
def test_a_sample_in_a_mixed_batch_is_as_alone(name, order, digits, batch):
    method = live(build(name, digits.tasks, norm="task")).eval()
    batch = shuffled(batch) if order == "unsorted" else batch
    together = method(batch).predictions
    for task in digits.tasks:
        samples = torch.arange(len(batch.x))[batch.rows(task.name)]
        for place, sample in enumerate(samples.tolist()):
            alone = method(rows_of(batch, torch.tensor([sample]))).predictions
            assert set(alone) == {task.name}
            torch.testing.assert_close(alone[task.name][0], together[task.name][place], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_the_norms_are_those_of_the_samples_task(name, digits, batch):
    method = live(build(name, digits.tasks, norm="task")).eval()
    before = method(batch).predictions
    for layer in method.task_norms.layers:
        if "mnistm" in layer:
            layer["mnistm"].running_mean += 1
    after = method(batch).predictions
    assert {task for task in before if not torch.equal(before[task], after[task])} == {"mnistm"}


@pytest.mark.parametrize("name", METHODS)
def test_all_tasks_start_from_the_norms_of_the_backbone(name, digits, batch):
    shared, task = build(name, digits.tasks), build(name, digits.tasks, norm="task")
    start = shared.state_dict()
    assert all(torch.equal(value, start[key]) for key, value in task.state_dict().items() if key in start)
    for of_shared, of_task in zip(
        shared.eval()(batch).predictions.values(), task.eval()(batch).predictions.values(), strict=True
    ):
        torch.testing.assert_close(of_task, of_shared, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_learns_and_norms_are_not_shared(name, digits, batch):
    method = live(build(name, digits.tasks, norm="task"))
    rest, shared = method.own_parameters(), method.shared_parameters()
    norms = {id(p) for p in method.task_norms.parameters()}
    assert norms and norms.isdisjoint({id(p) for p in shared}) and norms <= {id(p) for p in rest}
    assert {id(p) for p in rest} | {id(p) for p in shared} == {id(p) for p in method.parameters()}
    plain = {key for key, _ in build(name, digits.tasks).named_parameters()}
    assert {key for key, p in method.named_parameters() if id(p) not in norms} <= plain
    silent = dict(method.named_parameters())
    for _ in range(PASSES):
        output = method(batch)
        Sum.create().backward(task_losses(digits.tasks, output, batch), output.aux_loss, shared, rest)
        silent = {key: p for key, p in silent.items() if p.grad is None or not p.grad.abs().sum() > 0}
        if not silent:
            break
    assert list(silent) == []


@pytest.mark.parametrize("name", METHODS)
def test_shared_means_that_every_task_reaches_it(name, digits, batch):
    method = live(build(name, digits.tasks, norm="task"))
    by_twd_alone = {id(p) for p in getattr(method, "projection", nn.Identity()).parameters()}
    shared = [p for p in method.shared_parameters() if id(p) not in by_twd_alone]
    missed = {(task.name, i) for task in digits.tasks for i in range(len(shared))}
    for _ in range(PASSES):
        for task, loss in task_losses(digits.tasks, method(batch), batch).items():
            gradients = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
            missed -= {(task, i) for i, gradient in enumerate(gradients) if gradient is not None}
        if not missed:
            break
    assert missed == set()


@pytest.mark.parametrize("name", METHODS)
def test_an_absent_task_keeps_its_statistics(name, digits, batch):
    method = live(build(name, digits.tasks, norm="task")).train()
    before = copy.deepcopy(method.task_norms.state_dict())
    few = rows_of(batch, (batch.task != batch.tasks.index("mnistm")).nonzero().flatten())
    method(few)
    changed = {
        key.split(".")[2]
        for key, value in method.task_norms.state_dict().items()
        if not torch.equal(value, before[key])
    }
    assert changed == {task.name for task in digits.tasks} - {"mnistm"}


@pytest.mark.parametrize("name", METHODS)
def test_costs_and_state(name, digits, batch):
    one, other = build(name, digits.tasks, norm="task"), build(name, digits.tasks, seed=1, norm="task")
    assert flops_per_sample(one, batch) == flops_per_sample(build(name, digits.tasks), batch)
    other.load_state_dict(live(one).state_dict())
    for task, prediction in one.eval()(batch).predictions.items():
        torch.testing.assert_close(other.eval()(batch).predictions[task], prediction)
    counts, norms = parameter_counts(one, batch), sum(p.numel() for p in one.norm_parameters())
    assert counts["trainable"] == sum(p.numel() for p in one.parameters()) > norms > 0
    assert counts["inference"] <= counts["trainable"]


@pytest.mark.parametrize("name", ["shared", "mola_grad", "mtan", "ltb", "cross_stitch", "ple", "cgc", "dselect_k"])
def test_a_backbone_with_norms_that_activate_and_one_behind_the_last_stage(name, digits, batch):
    torch.manual_seed(0)
    known = registry.option_names("methods", name)
    options = {key: value for key, value in {"branches": 2, "rank": 1}.items() if key in known}
    create = registry.load("methods", name).create
    method = live(create(digits.tasks, builder("test_efficientnet"), norm="task", **options))
    together = method.eval()(batch).predictions
    for task in digits.tasks:
        rows = torch.arange(len(batch.x))[batch.rows(task.name)]
        alone = method(rows_of(batch, rows[:1])).predictions[task.name]
        torch.testing.assert_close(alone[0], together[task.name][0], rtol=1e-4, atol=1e-4)
    reached = {id(p): p for p in method.task_norms.parameters()}
    for _ in range(PASSES):
        losses = task_losses(digits.tasks, method.train()(batch), batch)
        torch.stack(list(losses.values())).sum().backward()
        if all(p.grad is not None for p in reached.values()):
            break
    assert [p.shape for p in reached.values() if p.grad is None] == []


def network_of(method, number, name):
    """``shared`` on a plain backbone, with the merged weights and the BatchNorm layers that a task has in MoLA-Grad."""
    plain = build("shared", TASKS)
    plain.heads.load_state_dict(method.heads.state_dict())
    for key, layer in method.backbone.named_modules():
        if isinstance(layer, LowRankConv2d):
            assert layer.delta()[number].abs().sum() > 0
            plain.backbone.get_submodule(key).weight.data = layer.weight.data + layer.delta()[number].data
        elif isinstance(layer, TaskBatchNorm):
            plain.backbone.get_submodule(key).load_state_dict(layer.norms[name].state_dict())
        elif isinstance(layer, nn.Conv2d):
            plain.backbone.get_submodule(key).load_state_dict(layer.state_dict())
    return plain


@pytest.mark.parametrize("freeze", [False, True])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_mola_grad_is_a_network_per_task(mode, freeze):
    batch = batch_of_mixed_tasks()
    method = live(build("mola_grad", TASKS, norm="task", freeze=freeze)).train(mode == "train")
    networks = {task.name: network_of(method, number, task.name) for number, task in enumerate(TASKS)}
    together = method(batch).predictions
    for name, network in networks.items():
        few = rows_of(batch, torch.arange(9)[batch.rows(name)])
        alone = network.train(mode == "train")(few).predictions[name]
        torch.testing.assert_close(together[name], alone, rtol=1e-4, atol=1e-4)
        for key, layer in method.backbone.named_modules():
            if isinstance(layer, TaskBatchNorm):
                after = network.backbone.get_submodule(key).state_dict()
                for entry, value in layer.norms[name].state_dict().items():
                    torch.testing.assert_close(value, after[entry], rtol=1e-4, atol=1e-4)


def test_under_freeze_norms_learn_as_adapters_do():
    batch = batch_of_mixed_tasks()
    method = live(build("mola_grad", TASKS, norm="task", freeze=True)).train()
    before = copy.deepcopy(method.state_dict())
    optimizer = torch.optim.SGD(method.parameters(), 0.1)
    losses = task_losses(TASKS, method(batch), batch)
    Sum.create().backward(losses, None, method.shared_parameters(), method.own_parameters())
    optimizer.step()
    changed = {key for key, value in method.state_dict().items() if not torch.equal(value, before[key])}
    norms = {f"task_norms.{key}" for key in method.task_norms.state_dict()}
    adapters = {key for key in before if key.endswith((".A", ".B"))}
    assert changed == norms | adapters | {key for key in before if key.startswith("heads.")}
    assert method.shared_parameters() == []


def test_a_batch_of_one_task_alone_has_its_norms(digits, batch):
    method = live(build("shared", digits.tasks, norm="task")).eval()
    expected = method(batch).predictions["mnistm"]
    torch.testing.assert_close(method(batch.only("mnistm")).predictions["mnistm"], expected, rtol=1e-4, atol=1e-4)


def test_without_the_method_a_backbone_is_not_run(digits, batch):
    method = build("shared", digits.tasks, norm="task")
    method(batch)
    with pytest.raises(BadInput, match="inside its method alone"):
        method.backbone(batch.x)
    # an error inside leaves nothing open
    with pytest.raises(ValueError, match="not in tuple"):
        method(Batch(batch.x, batch.task, {"mnistm": batch.y["mnistm"]}, ()))
    assert method.task_norms.rows.task is None


def test_a_constructor_without_create_is_refused(digits):
    with pytest.raises(TypeError, match=r"norm: task needs Shared\.create"):
        Shared(digits.tasks, lambda: nn.BatchNorm2d(3), Shared.Options(norm="task"))


@pytest.mark.parametrize("name", REFUSING)
def test_methods_without_it_say_why(name):
    with pytest.raises(BadInput, match=rf"^methods\.x\.norm: expected shared, as .*{REFUSING[name]}.*, found 'task'$"):
        registry.check_options("methods", name, {"norm": "task"}, "methods.x")
    assert registry.check_options("methods", name, {"norm": "shared"}, "x")["norm"] == "shared"


def trained(config):
    """(exit code, what it says) of a process that trains a suite"""
    command = [sys.executable, "-m", "mola.cli", "train", "-c", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {
                "benchmarks": {"scenes": {"limit": 8}},
                "backbone": {"name": "test_resnet", "options": {"output_stride": 8}},
            },
            "norm: expected shared on scenes, where every image has every task, found 'task'",
        ),
        (
            {"backbone": {"name": "test_vit", "options": {"img_size": 32}}},
            "norm: expected shared with a backbone that has no BatchNorm to train, as VisionTransformer, found 'task'",
        ),
        (
            {"backbone": {"name": "levit_128s", "options": {"img_size": 32}}},
            "norm: task: expected BatchNorm layers with a row for each of",
        ),
        ({"methods": {"single_task": {"norm": "task"}}}, "methods.single_task.norm: expected shared"),
    ],
    ids=["scenes", "no BatchNorm", "rows that are no samples", "single_task"],
)
def test_runs_that_can_not_have_it_write_nothing(changes, expected, suite_file, tmp_path):
    config = suite_file(**{"methods": {"shared": {"norm": "task"}}} | changes)
    code, message = trained(config)
    assert code == 2 and expected in message and len(message.strip().splitlines()) == 1
    assert not (tmp_path / "results").exists()


def test_a_whole_run_with_it(suite_file, tmp_path):
    rows = {"own": {"method": "mola_grad", "norm": "task", "rank": 2}}
    config = suite_file(methods=rows, probes={"gradients": 1, "routing": 4, "oracle_selection": True})
    assert trained(config)[0] == 0
    assert (tmp_path / "results/tiny/digits/own/seed0/record.json").is_file()


def test_every_method_has_the_option():
    assert all("norm" in registry.option_names("methods", name) for name in registry.names("methods"))
    assert Method.Options().norm == "shared"


def test_a_backbone_is_exported_with_the_norms_of_a_task(digits, batch):
    method = live(build("mola_grad", digits.tasks, norm="task")).eval()
    name = batch.tasks[1]
    with pytest.raises(BadInput, match=f"export: task: expected one of {', '.join(batch.tasks)}, found None"):
        mola.export(method.backbone, 1)
    plain = mola.export(method.backbone, 1, task=name)
    rows = batch.rows(name)
    torch.testing.assert_close(method.heads.tasks[name](plain(batch.x[rows])), method(batch).predictions[name])
    assert [type(module) for module in plain.modules()] == [type(m) for m in build("shared", TASKS).backbone.modules()]
    with pytest.raises(BadInput, match="export: task: expected none, as all tasks have the same BatchNorm layers"):
        mola.export(build("mola_grad", TASKS).backbone, 1, task=name)
