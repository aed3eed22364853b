"""Every registered method passes through here on arrival: on a benchmark where each image has a task of its own, on a
dense one where every image has every task, and on classes, several labels and a number of an image, in both ways.
"""

import re
from dataclasses import replace

import pytest
import torch
from building import build
from fake_dense import FakeDense
from fake_labels import FakeLabels, FakeMixed

from mola import registry
from mola.balancers.sum import Sum
from mola.losses import task_losses
from mola.metrics.kinds import KINDS
from mola.training.cost import example_batch, flops_per_sample, parameter_counts
from mola.training.loading import load
from mola.types import Batch, Range

METHODS = registry.names("methods")
PASSES = 20  # within which a method that draws has drawn everything


FAKES = {"dense": FakeDense, "labels": FakeLabels, "mixed": FakeMixed}


@pytest.fixture(params=["classes", *FAKES])
def benchmark(request):
    return FAKES[request.param]() if request.param in FAKES else request.getfixturevalue("digits")


@pytest.fixture
def batch(benchmark):
    size = {"digits": 16, "fake_mixed": 12}.get(benchmark.name, 4)
    return next(iter(load(benchmark, "train", torch.device("cpu"), size=size)))


def alone(batch, name):
    """The batch with one task only."""
    if batch.task is None:
        return replace(batch, y={name: batch.y[name]})
    kept = batch.rows(name)
    return Batch(batch.x[kept], batch.task[kept], {name: batch.y[name]}, batch.tasks)


def live(method):
    """Nothing at zero: B = 0 hides the gradient of A, and zero gates that of the router."""
    for parameter in method.parameters():
        if (parameter == 0).all():
            torch.nn.init.normal_(parameter, std=0.1)
    return method


def without_use(method, batch):
    """Parameters that nothing reaches: TwD's projection, where every sample has every task."""
    unused = getattr(method, "projection", torch.nn.Identity()) if batch.task is None else torch.nn.Identity()
    return {id(p) for p in unused.parameters()}


@pytest.mark.parametrize("name", METHODS)
def test_predictions_for_every_task_present(name, benchmark, batch):
    output = build(name, benchmark.tasks)(batch)
    assert set(output.predictions) == set(batch.y)
    for task in benchmark.tasks:
        target = batch.y[task.name]
        size = target.shape[-2:] if KINDS[task.kind].dense else ()
        assert output.predictions[task.name].shape == (len(target), task.outputs, *size)
    if output.routing is not None:
        torch.testing.assert_close(output.routing.sum(1), torch.ones(len(batch.x)))


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_may_lack_tasks(name, benchmark, batch):
    method = build(name, benchmark.tasks)
    for task in benchmark.tasks:
        assert set(method(alone(batch, task.name)).predictions) == {task.name}


@pytest.mark.parametrize("name", METHODS)
def test_other_tasks_do_not_change_a_prediction_in_eval(name, benchmark, batch):
    method = live(build(name, benchmark.tasks)).eval()
    task = benchmark.tasks[1].name
    torch.testing.assert_close(
        method(batch).predictions[task], method(alone(batch, task)).predictions[task], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_learns_and_belongs_to_one_side(name, benchmark, batch):
    method = live(build(name, benchmark.tasks))
    rest, shared = method.own_parameters(), method.shared_parameters()
    assert {id(p) for p in rest}.isdisjoint({id(p) for p in shared})
    assert {id(p) for p in rest} | {id(p) for p in shared} == {id(p) for p in method.parameters()}
    assert all(p.requires_grad for p in shared)  # what is frozen is no task's
    unused = without_use(method, batch)
    silent = {key: p for key, p in method.named_parameters() if p.requires_grad and id(p) not in unused}
    for _ in range(PASSES):
        output = method(batch)
        Sum.create().backward(task_losses(benchmark.tasks, output, batch), output.aux_loss, shared, rest)
        silent = {key: p for key, p in silent.items() if p.grad is None or not p.grad.abs().sum() > 0}
        if not silent:
            break
    assert list(silent) == []
    assert all(p.grad is None for p in method.parameters() if not p.requires_grad)


@pytest.mark.parametrize("name", METHODS)
def test_shared_means_that_every_task_reaches_it(name, benchmark, batch):
    method = live(build(name, benchmark.tasks))
    projection = {
        id(p) for p in getattr(method, "projection", torch.nn.Identity()).parameters()
    }  # TwD alone reaches it
    shared = [p for p in method.shared_parameters() if id(p) not in projection]
    missed = {(task.name, i) for task in benchmark.tasks for i in range(len(shared))}
    for _ in range(PASSES if shared else 0):
        for task, loss in task_losses(benchmark.tasks, method(batch), batch).items():
            gradients = torch.autograd.grad(loss, shared, retain_graph=True, allow_unused=True)
            missed -= {(task, i) for i, gradient in enumerate(gradients) if gradient is not None}
        if not missed:
            break
    assert [(task, tuple(shared[i].shape)) for task, i in missed] == []


@pytest.mark.parametrize("name", METHODS)
def test_adapters_and_their_sizes_are_those_of_the_layers(name, benchmark):
    method = live(build(name, benchmark.tasks))
    layers = {key: module for key, module in method.named_modules() if hasattr(module, "delta")}
    adapters = {id(p) for p in method.adapter_parameters()}
    named = {key: p for key, p in method.named_parameters() if id(p) in adapters}
    assert len(named) == len(method.adapter_parameters()) == 2 * len(layers)
    assert all(re.search(r"\.(A|B|A\.original)$", key) for key in named)
    sizes = method.expert_sizes()
    assert list(sizes) == list(layers)
    for key, layer in layers.items():
        norms = [float(expert.norm()) for expert in layer.delta()]
        assert sizes[key] == pytest.approx(norms, rel=1e-3) and min(norms) > 0


@pytest.mark.parametrize("name", METHODS)
def test_parts_cover_all_tasks_once(name, benchmark):
    method = build(name, benchmark.tasks)
    covered = [task for _, tasks in method.parts().values() for task in tasks]
    assert sorted(covered) == sorted(task.name for task in benchmark.tasks)
    in_parts = {id(p) for module, _ in method.parts().values() for p in module.parameters()}
    assert in_parts == {id(p) for p in method.parameters()}


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_weights_and_state_round_trip(name, benchmark, batch):
    one, two, other = (build(name, benchmark.tasks, seed=seed) for seed in (0, 0, 1))
    for key, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[key]), key
    other.load_state_dict(one.state_dict())
    for task in benchmark.tasks:
        torch.testing.assert_close(other.eval()(batch).predictions[task.name], one.eval()(batch).predictions[task.name])


@pytest.mark.parametrize("name", METHODS)
def test_costs_are_counted_on_a_few_images(name, benchmark):
    method = build(name, benchmark.tasks)
    few = example_batch(benchmark, torch.device("cpu"))
    assert set(few.y) == {task.name for task in benchmark.tasks}
    assert len(few.x) == (2 if few.task is None else 8 * len(benchmark.tasks))
    counts = parameter_counts(method, few)
    learning = sum(p.numel() for p in method.parameters() if p.requires_grad)
    assert 0 < counts["inference"] <= sum(p.numel() for p in method.parameters())
    assert counts["trainable"] == learning == sum(p.numel() for p in method.parameters() if p.requires_grad)
    assert flops_per_sample(method, few) > 0 or not looks_at_the_image(method, few)


def looks_at_the_image(method, batch):
    other = replace(batch, x=-batch.x)
    pairs = zip(method(batch).predictions.values(), method(other).predictions.values(), strict=True)
    return any(not torch.equal(one, two) for one, two in pairs)


@pytest.mark.parametrize("name", METHODS)
def test_search_space_names_options_whose_values_are_accepted(name):
    cls, known = registry.load("methods", name), registry.option_names("methods", name)
    assert set(cls.search_space) <= set(known)
    for key, space in cls.search_space.items():
        ends = (space.low, space.high) if isinstance(space, Range) else space
        for value in ends:
            registry.check_options("methods", name, {key: value}, name)


@pytest.mark.parametrize("kind", ["digits", "glyphs", "scenes"])
@pytest.mark.parametrize("name", METHODS)
def test_a_step_on_every_embedded_benchmark(name, kind, data_root):
    data = registry.load("benchmarks", kind).create(data_root, limit=8)
    few = next(iter(load(data, "train", torch.device("cpu"), size=16 if kind != "scenes" else 2)))
    method = build(name, data.tasks).train()
    rest, shared = method.own_parameters(), method.shared_parameters()
    output = method(few)
    losses = task_losses(data.tasks, output, few)
    assert set(losses) == set(few.y)
    Sum.create().backward(losses, output.aux_loss, shared, rest)
    reached = [p.grad for p in method.parameters() if p.grad is not None]
    assert reached and all(gradient.isfinite().all() for gradient in reached)
