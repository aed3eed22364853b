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
from mola.conformance import methods as conformance
from mola.conformance.methods import live
from mola.losses import task_losses
from mola.training.cost import example_batch, flops_per_sample, parameter_counts
from mola.training.loading import load

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


def without_use(method, batch):
    """Parameters that nothing reaches: TwD's projection, where every sample has every task."""
    unused = getattr(method, "projection", torch.nn.Identity()) if batch.task is None else torch.nn.Identity()
    names = {id(p): key for key, p in method.named_parameters()}
    return {names[id(p)] for p in unused.parameters()}


def subject(name, benchmark, batch):
    return conformance.Subject(lambda seed: build(name, benchmark.tasks, seed=seed), benchmark.tasks, batch)


@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", METHODS)
def test_conformance(name, check, benchmark, batch):
    """What ``mola check`` asks of a user's own methods, too."""
    check(subject(name, benchmark, batch))


@pytest.mark.parametrize("name", METHODS)
def test_options_and_search_space(name):
    conformance.options_are_as_declared("methods", name)
    conformance.search_space_is_accepted("methods", name)


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_learns(name, benchmark, batch):
    given = subject(name, benchmark, batch)
    assert conformance.silent_parameters(given) == without_use(given.method, batch)
    frozen = [p for p in given.method.parameters() if not p.requires_grad]
    assert all(p.grad is None for p in frozen)


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
