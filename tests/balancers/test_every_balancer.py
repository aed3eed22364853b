"""Every registered balancer passes through here on arrival."""

import copy
import io

import pytest
import torch
from fake_dense import FakeDense
from linear import CONFLICT, NAMES, VALUES, Problem, make, tasks
from torch import nn

from mola import registry
from mola.conformance import balancers as conformance
from mola.losses import task_losses
from mola.models.backbones import builder
from mola.training.loading import load
from mola.types import Batch, PerTask, Range

BALANCERS = registry.names("balancers")
every = pytest.mark.parametrize("name", BALANCERS)


@pytest.fixture(autouse=True)
def _solver(request):
    if "cagrad" in request.node.name:
        pytest.importorskip("cvxpy")


@every
@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
def test_conformance(name, check):
    """What ``mola check`` asks of a user's own balancers, too."""
    check(lambda tasks_: registry.create("balancers", name, tasks_, None, options={}))


@every
def test_one_task_is_plain_training(name):
    problem = Problem(CONFLICT[:1], [0.7])
    balancer = make(name, 1)
    for _ in range(3):
        shared, private = problem.update(balancer)
        torch.testing.assert_close(shared, CONFLICT[0])
        torch.testing.assert_close(private, torch.ones(1).double())
        balancer.end_epoch()


@every
def test_the_update_is_finite_and_lowers_the_sum(name):
    shared, private = Problem(CONFLICT, VALUES).update(make(name, 3))
    assert shared.isfinite().all()
    assert CONFLICT.sum(0) @ shared > 0
    assert (private > 0).all()


@every
def test_the_order_of_the_tasks_says_nothing(name):
    if registry.load("balancers", name).draws:
        pytest.skip("draws in the order of the tasks: another order is another draw")
    order = [2, 0, 1]
    first, second = make(name, 3), make(name, 3)
    for values in (VALUES, VALUES.flip(0), VALUES * 0.5):
        torch.manual_seed(7)  # GradDrop draws by coordinate
        one = Problem(CONFLICT, values).update(first)[0]
        names = tuple(NAMES[i] for i in order)
        torch.manual_seed(7)
        other = Problem(CONFLICT[order], values[order], names).update(second)[0]
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
        first.end_epoch()
        second.end_epoch()


def parts_of(state, name):
    """What a balancer's state holds of a task: entries by its name, rows and columns by its place; None: nothing."""
    place, gradients = NAMES.index(name), []
    for value in state.values():
        if isinstance(value, dict):
            gradients += [value[name]] if name in value else [parts_of(value, name)]
        elif isinstance(value, torch.Tensor) and value.dim() and len(value) == 3:
            gradients += [value[place].clone()]
    return [part for part in gradients if part is not None and part != []]


@every
def test_what_is_kept_for_an_absent_task_stands_still(name):
    balancer = make(name, 3)

    def kept():
        return {task: copy.deepcopy(parts_of(balancer.state_dict(), task)) for task in NAMES[:3]}

    start = kept()
    for _ in range(2):
        Problem(CONFLICT, VALUES).update(balancer)
        balancer.end_epoch()
    before = kept()
    follows = repr(before) != repr(start)  # the losses; what the run's optimiser steps stands still here
    Problem(CONFLICT[[0, 2]], 2 * VALUES[[0, 2]], ("a", "c")).update(balancer)
    balancer.end_epoch()
    after = kept()
    assert repr(after["b"]) == repr(before["b"])
    assert (repr(after["a"]) != repr(before["a"])) == (repr(after["c"]) != repr(before["c"])) == follows


@every
def test_a_loss_of_zero_without_gradient(name):
    """As dense tasks have where a batch holds no pixel that counts, at the first step and later."""
    balancer, rows = make(name, 3), torch.cat([CONFLICT[:2], torch.zeros(1, 4).double()])
    for _ in range(2):
        assert Problem(rows, [1.0, 2.0, 0.0]).update(balancer)[0].isfinite().all()
        assert Problem(CONFLICT, VALUES).update(balancer)[0].abs().sum() > 0
        balancer.end_epoch()


@every
def test_frozen_parameters_and_nothing_shared(name):
    problem = Problem(CONFLICT, VALUES)
    problem.shared[0].requires_grad_(False)
    losses, features = problem.losses()
    make(name, 3).backward(losses, None, problem.shared, list(problem.private.values()), features)
    assert problem.shared[0].grad is None
    assert problem.shared[1].grad is not None
    for p in problem.shared:
        p.requires_grad_(False)
    problem.private["a"].grad = None
    make(name, 3).backward(problem.losses()[0], None, [], list(problem.private.values()))
    assert problem.private["a"].grad is not None


class Toy(nn.Module):
    """Three regressions on shared features."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.body, self.heads = nn.Linear(4, 6), nn.ModuleList(nn.Linear(6, 1) for _ in range(3))

    def losses(self, epoch, step):
        generator = torch.Generator().manual_seed(100 * epoch + step)
        z = self.body(torch.randn(8, 4, generator=generator)).tanh()
        present = [(0, 1, 2), (0, 2), (1, 2)][step % 3]
        return {NAMES[t]: (self.heads[t](z) - t).square().mean() for t in present}, z


def train(name, epochs, saved=None, stop=None):
    """Weights after ``epochs``, and a checkpoint after epoch ``stop``, from which ``saved`` goes on."""
    model, balancer = Toy(), make(name, 3)
    optimizer = torch.optim.Adam([*model.parameters(), *balancer.parameters()], 0.01)
    parts = {"model": model, "optimizer": optimizer, "balancer": balancer}
    torch.manual_seed(9)
    start, kept = 0, None
    if saved is not None:
        saved.seek(0)
        state = torch.load(saved, weights_only=True)
        for key, part in parts.items():
            part.load_state_dict(state[key])
        torch.set_rng_state(state["random"])
        start = state["epoch"]
    for epoch in range(start, epochs):
        for step in range(4):
            losses, z = model.losses(epoch, step)
            optimizer.zero_grad(set_to_none=True)
            balancer.backward(losses, None, list(model.body.parameters()), list(model.heads.parameters()), z)
            optimizer.step()
        balancer.end_epoch()
        if epoch + 1 == stop:
            kept = io.BytesIO()
            states = {key: part.state_dict() for key, part in parts.items()}
            torch.save({**states, "random": torch.get_rng_state(), "epoch": epoch + 1}, kept)
    return torch.cat([p.detach().flatten() for p in model.parameters()]), kept


@every
def test_a_resumed_run_is_the_uninterrupted_one(name):
    whole, checkpoint = train(name, epochs=5, stop=3)
    resumed, _ = train(name, epochs=5, saved=checkpoint)
    assert torch.equal(whole, resumed)
    assert not torch.equal(whole, train(name, epochs=3)[0])


OPTIONS = {"where": r"layer[34]\..*conv\d", "router_width": 4, "router_blocks": 1, "router_pool": 4}
OPTIONS |= {"branches": 2, "warmup": 0, "rate": 1.0}


def build(name, named):
    """A method on a small backbone, nothing of it at zero: that would hide the gradient of something else."""
    torch.manual_seed(0)
    dense = any(task.kind != "classes" for task in named)
    options = {"zero_init_last": False} | ({"output_stride": 8} if dense else {})
    backbone = builder("test_resnet", options, dense=dense, head_width=8)
    known = registry.option_names("methods", name)
    chosen = {k: v for k, v in OPTIONS.items() if k in known}
    method = registry.load("methods", name).create(named, backbone, **chosen)
    for p in method.parameters():
        if (p == 0).all():
            nn.init.normal_(p, std=0.1)
    return method


PASSES = 20  # within which a method that draws has drawn everything


def step(name, method, named, batch, unused=frozenset()):
    """The names of the parameters that steps of the balancer give no gradient."""
    balancer = registry.load("balancers", name).create(named)
    silent = {k: p for k, p in method.named_parameters() if p.requires_grad and k not in unused}
    for _ in range(PASSES):
        method.zero_grad(set_to_none=True)
        output = method(batch)
        losses = task_losses(named, output, batch)
        balancer.backward(losses, output.aux_loss, method.shared_parameters(), method.own_parameters(), output.features)
        assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())
        assert all(p.grad is None for k, p in method.named_parameters() if not p.requires_grad or k in unused)
        silent = {k: p for k, p in silent.items() if p.grad is None or not p.grad.abs().sum() > 0}
        if not silent:
            break
    return set(silent)


@pytest.fixture(scope="module")
def mixed():
    """Every method, and a batch in which each image has a task of its own."""
    named, generator = tasks(4), torch.Generator().manual_seed(0)
    y = {task.name: torch.randint(3, (2,), generator=generator) for task in named}
    x, task = torch.randn(8, 3, 32, 32, generator=generator), torch.arange(8) // 2
    batch = Batch(x, task, y, tuple(task.name for task in named))
    return named, batch, {label: build(label, named) for label in registry.names("methods")}


KINDS = ("uw", "gradnorm", "pcgrad", "mgda_ub", "aligned_mtl_ub")  # one of each way through the graph, on all methods
SIDES = (
    "shared",
    "single_task",
    "mola_grad",
    "mola_router",
)  # all shared, nothing, adapters of a task's own, an auxiliary loss


@every
def test_with_every_method_every_parameter_gets_its_gradient(name, mixed):
    """Adapters inside the backbone included."""
    named, batch, methods = mixed
    for label, method in methods.items():
        if name not in KINDS and label not in SIDES:
            continue
        assert step(name, method, named, batch) == set(), label


@pytest.fixture(scope="module")
def dense():
    """The same on maps, where every image has every task."""
    benchmark = FakeDense()
    batch = next(iter(load(benchmark, "train", torch.device("cpu"), size=2)))
    return benchmark.tasks, batch, {label: build(label, benchmark.tasks) for label in registry.names("methods")}


@pytest.mark.parametrize("name", KINDS)
def test_dense_tasks_with_every_method(name, dense):
    named, batch, methods = dense
    for label, method in methods.items():
        unused = {key for key in dict(method.named_parameters()) if "projection" in key}  # TwD alone reaches it
        assert step(name, method, named, batch, unused) == set(), label


@every
def test_search_space_names_options_whose_values_are_accepted(name):
    cls, known = registry.load("balancers", name), registry.option_names("balancers", name)
    assert set(cls.search_space) == set(known), "every option of a balancer is a knob"
    for key, space in cls.search_space.items():
        if isinstance(space, PerTask):
            values = [dict.fromkeys(NAMES[:3], end) for end in (space.range.low, space.range.high)]
        else:
            values = (space.low, space.high) if isinstance(space, Range) else space
        for value in values:
            make(name, 3, **{key: value})


def test_tasks_of_every_kind_have_a_balancer():
    for name in BALANCERS:
        registry.load("balancers", name).create(tasks(2, "depth"))
