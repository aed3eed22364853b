"""Balancers in a training loop of one's own: what they give on a plain model is what the harness gives."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

import mola
from mola import registry
from mola.experiment.fingerprint import closure
from mola.types import BadInput, Task

NAMES = ("a", "b", "c")
every = pytest.mark.parametrize("name", mola.balancers.names())
LESS = (("a", "b", "c"), ("a", "c"), ("b", "c"), ("b",), ("a", "b", "c"))  # the tasks of each batch


@pytest.fixture(autouse=True)
def _solver(request):
    if "cagrad" in request.node.name:
        pytest.importorskip("cvxpy")


class Plain(nn.Module):
    """A trunk, a head per task, and a scale that no task but a has."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.trunk = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6))
        self.heads = nn.ModuleDict({name: nn.Linear(6, 1) for name in NAMES})
        self.scale = nn.Parameter(torch.ones(1))
        self.unused = nn.Parameter(torch.ones(1))

    def losses(self, step):
        """Of the tasks of a batch; an auxiliary loss; where the tasks part."""
        generator = torch.Generator().manual_seed(step)
        z = self.trunk(torch.randn(9, 5, generator=generator))
        outputs = {name: self.heads[name](z) for name in LESS[step]}
        targets = {name: place * torch.randn(9, 1, generator=generator) for place, name in enumerate(LESS[step], 1)}
        losses = {name: (output - targets[name]).square().mean() for name, output in outputs.items()}
        if "a" in losses:
            losses["a"] = losses["a"] * self.scale.sum()
        return losses, 0.1 * z.square().mean(), z


def steps(name, backward, balancer):
    """The gradients and weights of every step under SGD."""
    model = Plain()
    optimizer = torch.optim.SGD([*model.parameters(), *balancer.parameters()], 0.05)
    history = []
    torch.manual_seed(3)
    for step in range(len(LESS)):
        optimizer.zero_grad()
        losses, aux_loss, features = model.losses(step)
        backward(balancer, model, losses, aux_loss, features)
        history += [None if p.grad is None else p.grad.clone() for p in [*model.parameters(), *balancer.parameters()]]
        optimizer.step()
        balancer.end_epoch()
    return [*history, *(p.detach().clone() for p in model.parameters())]


def harness(balancer, model, losses, aux_loss, features):
    shared = list(model.trunk.parameters())
    rest = [p for p in model.parameters() if all(p is not other for other in shared)]
    balancer.backward(losses, aux_loss, shared, rest, features)


def shortest(balancer, model, losses, aux_loss, features):
    balancer.backward(losses, shared=model.trunk.parameters(), aux_loss=aux_loss, features=features)


def named(balancer, model, losses, aux_loss, features):
    rest = [*model.heads.parameters(), model.scale, model.unused]
    balancer.backward(losses, shared=model.trunk.parameters(), rest=rest, aux_loss=aux_loss, features=features)


def inner(name):
    options = registry.check_options("balancers", name, {}, name)
    return registry.create("balancers", name, [Task(n, "classes", 1, ()) for n in NAMES], None, options=options)


@every
@pytest.mark.parametrize("backward", [shortest, named])
def test_it_gives_the_gradients_of_the_harness(name, backward):
    expected = steps(name, harness, inner(name))
    ours = steps(name, backward, mola.balancers.create(name, NAMES))
    assert len(ours) == len(expected)
    assert all((a is None and b is None) or torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


@every
def test_two_losses_and_the_shared_parameters_are_enough(name):
    model, balancer = Plain(), mola.balancers.create(name, tasks=["a", "b"])
    losses, _, _ = model.losses(0)
    balancer.backward({"a": losses["a"], "b": losses["b"]}, shared=model.trunk.parameters())
    reached = [*model.trunk.parameters(), *model.heads["a"].parameters(), *model.heads["b"].parameters(), model.scale]
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in reached)
    assert model.unused.grad is None and model.heads["c"].weight.grad is None


@every
def test_shared_is_asked_for_where_it_is_needed(name):
    model, balancer = Plain(), mola.balancers.create(name, NAMES)
    losses, _, z = model.losses(0)
    if balancer.needs_shared:
        for shared in (None, []):
            with pytest.raises(BadInput, match=f"balancer {name}: expected shared=…, the parameters that all losses"):
                balancer.backward(losses, shared=shared, features=z)
        assert all(p.grad is None for p in model.parameters())
    else:
        balancer.backward(losses)
        other = Plain()
        again = mola.balancers.create(name, NAMES)
        torch.manual_seed(0)
        again.backward(other.losses(0)[0], shared=other.trunk.parameters())
        if not registry.load("balancers", name).draws:
            assert all(
                a.grad is b.grad or torch.equal(a.grad, b.grad)
                for a, b in zip(model.parameters(), other.parameters(), strict=True)
            )
    one = mola.balancers.create(name, ["a"])
    one.backward({"a": Plain().losses(0)[0]["a"]})
    assert not one.needs_shared, "one task has nothing to combine"


@every
def test_a_training_goes_on_from_its_state(name):
    def train(balancer, model, optimizer, first, last):
        for step in range(first, last):
            torch.manual_seed(step)
            optimizer.zero_grad()
            losses, _, z = model.losses(step)
            balancer.backward(losses, shared=model.trunk.parameters(), features=z)
            optimizer.step()
            balancer.end_epoch()

    whole, model = mola.balancers.create(name, NAMES), Plain()
    optimizer = torch.optim.SGD([*model.parameters(), *whole.parameters()], 0.05)
    train(whole, model, optimizer, 0, 3)
    again, other = mola.balancers.create(name, NAMES), copy.deepcopy(model)
    again.load_state_dict(copy.deepcopy(whole.state_dict()))
    train(whole, model, optimizer, 3, 5)
    train(again, other, torch.optim.SGD([*other.parameters(), *again.parameters()], 0.05), 3, 5)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_losses_alone_are_enough_for_those_that_weigh_them():
    alone = {name for name in mola.balancers.names() if not registry.load("balancers", name).needs_shared}
    weighting = {n for n in mola.balancers.names() if registry.load("balancers", n).cost == "weighting"}
    assert alone == weighting - {"gradnorm"}


def test_kinds_are_what_uw_looks_at():
    def gradient(tasks):
        model, balancer = Plain(), mola.balancers.create("uw", tasks)
        balancer.backward(model.losses(0)[0])
        return model.heads["a"].weight.grad, model.heads["b"].weight.grad

    plain, halved = gradient(NAMES), gradient({"a": "regression", "b": "classes", "c": "multilabel"})
    assert torch.equal(halved[0], plain[0] / 2) and torch.equal(halved[1], plain[1])


def test_options_are_those_of_a_suite():
    model = Plain()
    losses = model.losses(0)[0]
    mola.balancers.create("static", NAMES, weights={"a": 0.0}).backward(losses)
    assert not model.heads["a"].weight.grad.any() and model.heads["b"].weight.grad.any()


X = torch.ones(2, requires_grad=True)


@pytest.mark.parametrize(
    ("name", "tasks", "options", "losses", "message"),
    [
        ("pcgard", NAMES, {}, None, "unknown balancer 'pcgard', did you mean 'pcgrad'"),
        ("sum", [], {}, None, "balancer sum: expected names of tasks that differ, found none"),
        ("sum", ["a", "a"], {}, None, "expected names of tasks that differ, found a, a"),
        ("sum", {"a": "number"}, {}, None, "expected for a a kind of classes, .*, found number"),
        ("dwa", NAMES, {"temprature": 2}, None, "balancer dwa.temprature: unknown option of dwa, did you mean"),
        ("dwa", NAMES, {"temperature": -1}, None, "balancer dwa.temperature: should be greater than 0, found -1"),
        ("sum", NAMES, {}, {}, "balancer sum: expected the loss of a task at least, found none"),
        ("sum", ["age"], {}, {"aeg": X.sum()}, "expected losses of age, found 'aeg', did you mean 'age'"),
        ("sum", NAMES, {}, {"a": X}, r"expected a loss \(\) for a, found shape \(2,\)"),
        ("sum", NAMES, {}, {"a": X.detach().sum()}, "expected a loss with a graph for a"),
    ],
)
def test_bad_input_is_one_line(name, tasks, options, losses, message):
    with pytest.raises(BadInput, match=message) as error:
        mola.balancers.create(name, tasks, **options).backward(losses)
    assert "\n" not in str(error.value)


def test_no_model_library_is_imported():
    """Adapters and balancers need torch; timm, torchvision and the harness stay out."""
    code = (
        "import sys\n"
        "for name in ('timm', 'torchvision', 'pandas', 'optuna'): sys.modules[name] = None\n"
        "import mola\nmola.balancers\nassert 'torch' not in sys.modules\n"
        "import torch\n"
        "model = mola.adapt(torch.nn.Sequential(torch.nn.Linear(3, 2)), experts=2, rank=1)\n"
        "with mola.gate(model, torch.tensor([0, 1])): y = model(torch.ones(2, 3))\n"
        "for name in mola.balancers.names():\n"
        "    if name != 'cagrad': mola.balancers.create(name, ['a', 'b'])\n"
        "harness = ('mola.training', 'mola.methods', 'mola.experiment')\n"
        "assert not any(name.startswith(harness) for name in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_runs_of_the_harness_do_not_depend_on_it():
    files = closure(["mola.experiment.run", "mola.methods.shared", "mola.balancers.pcgrad"])
    assert "mola.balancers._jacobian" in files and "mola.balancers._standalone" not in files


@every
def test_losses_that_the_balancer_measures_give_the_same_gradients(name):
    torch.manual_seed(2)
    x, task = torch.randn(9, 5), torch.tensor([0, 2, 0, 2, 2, 0, 0, 2, 2])
    gradients = []
    for measured in (True, False):
        model, balancer = Plain(), mola.balancers.create(name, NAMES)
        shared = list(model.trunk.parameters())

        def compute(model=model):
            z = model.trunk(x)
            return {n: model.heads[n](z[task == NAMES.index(n)]).square().mean() for n in ("a", "c")}

        for p in model.parameters():
            # of an earlier batch: gradients accumulate
            p.grad = torch.ones_like(p)
        losses = balancer.losses(compute, model=model.trunk, shared=shared, task=task) if measured else compute()
        torch.manual_seed(3)
        balancer.backward(losses, shared=shared)
        gradients.append([p.grad for p in model.parameters()])
        expected = "one for all tasks" if measured and balancer.inner.cost == "jacobian" else None
        assert balancer.passes == expected
    for one, many in zip(*gradients, strict=True):
        assert one is many is None or torch.allclose(one, many, rtol=1e-4, atol=1e-6)


def test_batch_norm_takes_a_pass_for_each_task_and_says_why():
    trunk, head = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), nn.Linear(4, 1)
    balancer, task = mola.balancers.create("pcgrad", ["a", "b"]), torch.tensor([0, 1, 1, 0])
    x = torch.randn(4, 5)

    def compute():
        z = head(trunk(x))
        return {name: z[task == t].square().mean() for t, name in enumerate("ab")}

    balancer.backward(
        balancer.losses(compute, model=trunk, shared=trunk.parameters(), task=task), shared=trunk.parameters()
    )
    assert balancer.passes == "one for each task: 1 takes statistics over samples of all tasks"
