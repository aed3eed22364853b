"""LTB draws a tree of stages in training and keeps the likeliest in evaluation."""

from dataclasses import replace

import pytest
import torch
from building import build
from fake_dense import TASKS, FakeDense

from mola.balancers.sum import Sum
from mola.benchmarks.digits import Digits
from mola.config import Training
from mola.losses import task_losses
from mola.methods.ltb import Chosen
from mola.training.fit import fit, make_optimizer
from mola.training.loading import load


@pytest.fixture(params=["classes", "dense"])
def benchmark(request):
    return FakeDense() if request.param == "dense" else request.getfixturevalue("digits")


@pytest.fixture
def batch(benchmark):
    return next(iter(load(benchmark, "train", torch.device("cpu"), size=16 if benchmark.name == "digits" else 4)))


def straight(method):
    """Node b grows from node b, task t from node t."""
    for theta in (method.parents, method.leaves):
        with torch.no_grad():
            theta.copy_(torch.eye(theta.shape[-1]).expand_as(theta) * 1e4)
    return method


@pytest.mark.parametrize("training", [False, True])
def test_one_branch_is_hard_sharing(benchmark, batch, training):
    tree, plain = build("ltb", benchmark.tasks, branches=1), build("shared", benchmark.tasks)
    plain.heads.load_state_dict(tree.heads.state_dict())
    plain.backbone.load_state_dict(tree.towers[0].state_dict())
    for _ in range(2):
        actual, expected = tree.train(training)(batch).predictions, plain.train(training)(batch).predictions
        for name in actual:
            torch.testing.assert_close(actual[name], expected[name])


def test_straight_branches_are_single_task_towers(benchmark, batch):
    tree, towers = straight(build("ltb", benchmark.tasks, branches=None)), build("single_task", benchmark.tasks)
    for node, (name, tower) in zip(tree.towers, towers.towers.items(), strict=True):
        tower.backbone.load_state_dict(node.state_dict())
        tower.heads.tasks[name].load_state_dict(tree.heads.tasks[name].state_dict())
    actual, expected = tree.eval()(batch).predictions, towers.eval()(batch).predictions
    for name in actual:
        torch.testing.assert_close(actual[name], expected[name], rtol=1e-4, atol=1e-5)


def test_training_and_evaluation_agree_on_a_certain_tree(benchmark, batch):
    """Without BatchNorm's batch statistics, a draw that can't fall otherwise is the argmax."""
    tree = build("ltb", benchmark.tasks, branches=3)
    for theta in (tree.parents, tree.leaves):
        torch.nn.init.normal_(theta, std=1e4)
    expected = tree.eval()(batch).predictions
    tree.train()
    for module in tree.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    actual = tree(batch).predictions
    for name in actual:
        torch.testing.assert_close(actual[name], expected[name], rtol=1e-4, atol=1e-5)


def test_only_the_drawn_nodes_learn(benchmark, batch):
    tree = straight(build("ltb", benchmark.tasks, branches=None))
    name = benchmark.tasks[1].name
    loss = task_losses(benchmark.tasks, tree(batch), batch)[name]
    loss.backward()
    reached = {tuple(key.split(".")[:2]) for key, p in tree.named_parameters() if p.grad is not None and p.grad.any()}
    assert {node for part, node in reached if part == "towers"} == {"1"}
    assert {key.split(".")[2] for key, p in tree.heads.named_parameters("heads") if p.grad is not None} == {name}


def test_the_warm_up_draws_evenly_and_leaves_theta_alone(benchmark, batch):
    tree = build("ltb", benchmark.tasks, warmup=2)
    nodes = set()
    for step in range(4):
        tree.zero_grad()
        output = tree(batch)
        Sum.create().backward(task_losses(benchmark.tasks, output, batch), None, tree.shared_parameters(), [])
        assert (tree.parents.grad is None) == (tree.leaves.grad is None) == (step < 2)
        nodes |= {output.features.shape[1]}
    assert max(nodes) == 2  # afterwards both nodes are looked at


def test_theta_gets_the_gradient_of_the_gumbel_softmax():
    weights = torch.tensor([0.2, 0.5, 0.3], requires_grad=True)
    values = [torch.randn(2, 4, requires_grad=True) for _ in range(3)]
    output = Chosen.apply(weights, 1, *values)
    assert torch.equal(output, values[1])
    gradient = torch.randn(2, 4)
    output.backward(gradient)
    torch.testing.assert_close(weights.grad, torch.stack([(gradient * value).sum() for value in values]))
    assert torch.equal(values[1].grad, gradient)
    assert values[0].grad is None and values[2].grad is None


def test_the_temperature_falls_and_theta_learns_which_node_is_better(digits, monkeypatch):
    """One node of the last stage gives nothing: tasks leave it."""
    batch = next(iter(load(digits, "train", torch.device("cpu"), size=16)))
    temperatures = []
    drawn = torch.nn.functional.gumbel_softmax
    monkeypatch.setattr(
        "mola.methods.ltb.F.gumbel_softmax", lambda theta, tau: temperatures.append(tau) or drawn(theta, tau)
    )
    tree = build("ltb", digits.tasks, temperature=2.0, warmup=1)
    for parameter in tree.towers[1].layer4.parameters():
        torch.nn.init.zeros_(parameter).requires_grad_(False)
    optimizer = make_optimizer(Training(lr=0.02), [p for p in tree.parameters() if p.requires_grad])
    for _ in range(24):
        optimizer.zero_grad()
        Sum.create().backward(task_losses(digits.tasks, tree(batch), batch), None, tree.shared_parameters(), [])
        optimizer.step()
    assert temperatures[::2][:4] == pytest.approx([2.0, 2.0, 2.0 / 2**0.5, 2.0 / 3**0.5])
    assert (tree.leaves[:, 0] > tree.leaves[:, 1]).all()
    assert tree.leaves.softmax(-1).max() < 0.7 < (tree.rate * tree.leaves).softmax(-1)[:, 0].min()  # draws follow


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.05), ("adamw", 0.001)])
def test_noise_decides_no_tree_in_a_few_steps(digits, optimizer, lr):
    """Whatever the optimiser, though branches learn faster than weights."""
    batch = next(iter(load(digits, "train", torch.device("cpu"), size=16)))
    noise = replace(batch, x=torch.randn_like(batch.x), y={n: y[torch.randperm(len(y))] for n, y in batch.y.items()})
    tree = build("ltb", digits.tasks, warmup=0)
    steps = make_optimizer(Training(optimizer=optimizer, lr=lr), list(tree.parameters()))
    for _ in range(6):
        steps.zero_grad()
        Sum.create().backward(task_losses(digits.tasks, tree(noise), noise), None, tree.shared_parameters(), [])
        steps.step()
    for theta in (tree.parents, tree.leaves):
        assert 0.5 < (tree.rate * theta).softmax(-1).max() < 0.8  # some learning, nothing settled


def test_in_evaluation_a_node_runs_once_on_its_tasks_samples(digits):
    batch = next(iter(load(digits, "train", torch.device("cpu"), size=16)))
    tree = build("ltb", digits.tasks).eval()
    with torch.no_grad():  # tasks 0, 1, 2 grow from node 0, task 3 forks at the last stage
        tree.leaves.copy_(torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1]]))
        tree.parents[..., 0] = 1
    met = []
    for node, tower in enumerate(tree.towers):
        for name in ("layer1", "layer2", "layer3", "layer4"):
            tower.get_submodule(name).register_forward_hook(
                lambda module, args, output, key=(node, name): met.append((*key, len(output)))
            )
    tree(batch)
    assert met == [(0, "layer1", 16), (0, "layer2", 16), (0, "layer3", 16), (0, "layer4", 12), (1, "layer4", 4)]


def test_a_resumed_run_draws_what_it_would_have(tmp_path):
    """The schedule's step and the generator are in the checkpoint."""

    def trained(folder, epochs, stop=None):
        method = build("ltb", TASKS, warmup=3)
        training = Training(epochs=epochs, batch_size=4, lr=0.002, schedule="constant")
        path = tmp_path / folder
        path.mkdir(exist_ok=True)
        data = FakeDense({"train": 8, "valid": 2, "test": 2})
        torch.manual_seed(3)
        cpu, file = torch.device("cpu"), path / "run.pt"
        outcome = fit(method, Sum.create(), data, training, seed=0, device=cpu, path=file, fingerprint="f")
        return method, outcome

    whole, one = trained("whole", 3)
    trained("cut", 2)
    resumed, two = trained("cut", 3)
    assert int(whole.steps) == 6
    assert [epoch["train"] for epoch in one.curve] == [epoch["train"] for epoch in two.curve]
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


@pytest.mark.slow
def test_a_short_run_beats_chance(data_root, tmp_path):
    """The whole of it: warm-up, draws, the tree that is found."""
    data = Digits.create(data_root, limit=64)
    tree = build("ltb", data.tasks, branches=2, warmup=8, rate=100.0, temperature=1.0)
    training = Training(epochs=16, batch_size=32, lr=0.004)
    cpu = torch.device("cpu")
    outcome = fit(tree, Sum.create(), data, training, seed=0, device=cpu, path=tmp_path / "run.pt", fingerprint="f")
    scores = [score["accuracy"] for score in outcome.test.values()]
    assert sum(scores) / len(scores) > 0.2  # of ten classes
    assert (tree.rate * tree.leaves).softmax(-1).max(-1).values.min() > 0.9  # a tree was found
