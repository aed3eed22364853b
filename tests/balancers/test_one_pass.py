"""One backward pass for the gradients of every task: equal to a pass for each, refused where it would not be."""

import copy
import gc
import logging
import weakref
from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from linear import tasks
from timm.layers import GroupNorm
from torch import nn
from torch.utils.checkpoint import checkpoint

import mola
from mola import registry
from mola.balancers._jacobian import Jacobian
from mola.balancers._one_pass import ONE
from mola.types import Batch

TASKS = tasks(4)
NAMES = tuple(task.name for task in TASKS)
ADAPTED = r".*(blocks|layer|stages).*(qkv|fc1|fc2|conv1|conv2|conv_dw|pwconv1)"
JACOBIAN = [name for name in registry.names("balancers") if registry.load("balancers", name).cost == "jacobian"]
EACH = "one for each task: "


class Rows(Jacobian):
    """Keeps G."""

    def combine(self, matrix, losses):
        self.matrix = matrix.clone()
        return matrix.sum(0)


class Model(nn.Module):
    """A trunk and a head for each task."""

    def __init__(self, trunk, gate=None):
        super().__init__()
        self.trunk, self.gate = trunk, gate
        self.heads = nn.ModuleDict({name: nn.LazyLinear(3) for name in NAMES})

    def forward(self, batch):
        if self.gate is None:
            z = self.trunk(batch.x)
        else:
            with mola.gate(self.trunk, self.gate(batch)):
                z = self.trunk(batch.x)
        self.z = z = z.flatten(2).mean(2) if z.dim() > 2 else z
        return {name: F.cross_entropy(self.heads[name](z[batch.rows(name)]), y) for name, y in batch.y.items()}

    @property
    def shared(self):
        return list(self.trunk.parameters())


def batch_of(task, shape=(3, 32, 32), dtype=torch.float64):
    task = torch.as_tensor(task)
    y = {name: torch.randint(3, (int((task == i).sum()),)) for i, name in enumerate(NAMES) if (task == i).any()}
    return Batch(torch.randn(len(task), *shape, dtype=dtype), task, y, NAMES)


def prepared(model, batch):
    """In double precision, no parameter zero."""
    model = model.double().train()
    with torch.no_grad():
        model(batch_of([0, 1, 2, 3], batch.x.shape[1:]))
        for p in model.parameters():
            p += 0.1 * torch.randn_like(p)
    return model


def step(model, batch, balancer, shared=None, aux=None, harness=True):
    """One step's G (T, P), and the gradients of all parameters."""
    shared = model.shared if shared is None else shared
    ids = {id(p) for p in shared}
    rest = [p for p in model.parameters() if id(p) not in ids]

    def compute():
        losses = model(batch)
        return (None if aux is None else aux(model.z)), losses

    aux_loss, losses = balancer.forward(compute, model, shared, batch) if harness else compute()
    model.zero_grad(set_to_none=True)
    balancer.backward(losses, aux_loss, shared, rest)
    return balancer.matrix, [p.grad for p in model.parameters()]


def same(actual, expected):
    scale = max(float(g.abs().max()) for g in expected if g is not None)
    for a, b in zip(actual, expected, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12 * scale)


def compare(model, batch, **options):
    one, many = Rows.create(TASKS), Rows.create(TASKS)
    torch.manual_seed(5)
    actual = step(model, batch, one, **options)
    torch.manual_seed(5)
    expected = step(model, batch, many, harness=False, **options)
    assert one.passes == ONE
    same([actual[0], *actual[1]], [expected[0], *expected[1]])
    return actual


def vit(**options):
    return timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32, depth=2, embed_dim=48, **options)


TRUNKS = {
    "vit": lambda: vit(init_values=0.1, reg_tokens=1, drop_rate=0.1, proj_drop_rate=0.1),
    "convnext": lambda: timm.create_model("convnext_atto", num_classes=0, depths=(1, 1, 1, 1), dims=(8, 16, 16, 16)),
    "resnet": lambda: timm.create_model(
        "test_resnet", num_classes=0, norm_layer=partial(GroupNorm, num_groups=8), zero_init_last=False
    ),
}
GATES = {
    "plain": None,
    "index": lambda batch: batch.task,
    "dense": lambda batch: torch.rand(len(batch.x), 4, dtype=torch.float64),
    "top-k": lambda batch: torch.rand(len(batch.x), 4, dtype=torch.float64).topk(2),
}


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("trunk", TRUNKS)
def test_equals_a_pass_for_each_task(trunk, gate):
    """Of every shared parameter, adapters included, for mixes of tasks in any order, some absent; then with
    checkpoints.
    """
    torch.manual_seed(0)
    network = TRUNKS[trunk]()
    if GATES[gate]:
        mola.adapt(network, experts=4, rank=1, where=ADAPTED)
    model = prepared(Model(network, GATES[gate]), batch_of([0, 1, 2, 3]))
    compare(model, batch_of([0, 0, 1, 1, 2, 3]))
    network.set_grad_checkpointing(True)
    compare(model, batch_of([3, 0, 3, 1, 0, 3]))


@pytest.mark.parametrize("plan", ["factored", "separate"])
@pytest.mark.parametrize("trunk", ["vit", "resnet"])
def test_a_sparse_gate_under_a_forced_plan(trunk, plan):
    torch.manual_seed(0)
    network = mola.adapt(TRUNKS[trunk](), experts=4, rank=1, where=ADAPTED, plan=plan)
    model = prepared(Model(network, GATES["top-k"]), batch_of([0, 1, 2, 3]))
    compare(model, batch_of([0, 0, 1, 1, 2, 3]))


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=12))
def test_any_mix_of_tasks(task):
    torch.manual_seed(0)
    if len(set(task)) > 1:
        trunk = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(inplace=True), nn.Conv2d(8, 4, 3))
        compare(prepared(Model(trunk), batch_of([0, 1, 2, 3], (3, 8, 8))), batch_of(task, (3, 8, 8)))


class Flat(nn.Module):
    """(B, C, H, W) → what a layer over fewer or more axes takes."""

    def __init__(self, *shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return x.reshape(len(x), *self.shape)


class Scale(nn.Module):
    """Parameters of every shape that one may hold directly."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(torch.randn(s)) for s in [(6,), (1, 6, 8, 8), ()])

    def forward(self, x):
        return (self.c * x).mul_(self.a.view(1, -1, 1, 1)) - self.b


class Windows(nn.Module):
    """Rows for every part of every sample."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 4)

    def forward(self, x):
        return self.layer(x.flatten(2).flatten(0, 1)).unflatten(0, (len(x), 6))


LAYERS = {
    "groups, stride, dilation": lambda: nn.Conv2d(6, 4, 3, 2, 1, dilation=2, groups=2),
    "depthwise, no bias": lambda: nn.Conv2d(6, 6, (3, 2), groups=6, bias=False),
    "same": lambda: nn.Conv2d(6, 4, (2, 4), padding="same", dilation=(1, 2)),
    "circular": lambda: nn.Conv2d(6, 4, 3, padding=(1, 2), padding_mode="circular"),
    "one axis": lambda: nn.Sequential(Flat(6, 64), nn.Conv1d(6, 4, 5, 3, "valid")),
    "three axes": lambda: nn.Sequential(Flat(6, 4, 4, 4), nn.Conv3d(6, 4, 3, 1, (1, 0, 1))),
    "transposed": lambda: nn.ConvTranspose2d(6, 4, 3, 2, 1, 1, groups=2, dilation=(2, 1)),
    "tokens": lambda: nn.Sequential(Flat(6, 8, 8), nn.Linear(8, 5), nn.Linear(5, 4, bias=False)),
    "tokens of windows": Windows,
    "layer norm": lambda: nn.Sequential(nn.LayerNorm((8, 8)), nn.LayerNorm(8, bias=False)),
    "group norm": lambda: nn.Sequential(nn.GroupNorm(3, 6), nn.ReLU(inplace=True), nn.GroupNorm(1, 6)),
    "scale": lambda: nn.Sequential(Scale(), nn.Conv2d(6, 4, 1), nn.Flatten(1)),
    "frozen half": lambda: _frozen(nn.Sequential(nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1))),
    "frozen statistics": lambda: nn.Sequential(nn.Conv2d(6, 6, 1), _frozen(nn.BatchNorm2d(6))).eval(),
}


def _frozen(module):
    for p in [*module.parameters()][:2]:
        p.requires_grad_(False)
    return module


@pytest.mark.parametrize("kind", LAYERS)
def test_every_layer(kind):
    torch.manual_seed(0)
    batch = batch_of([2, 0, 3, 0, 2], (6, 8, 8))
    model = prepared(Model(LAYERS[kind]()), batch)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    compare(model, batch)


def test_an_auxiliary_loss_is_added_whole():
    """One that couples all samples."""
    torch.manual_seed(0)
    batch = batch_of([0, 1, 2, 2], (6, 8, 8))
    model = prepared(Model(nn.Sequential(nn.Conv2d(6, 6, 1), nn.Flatten(), nn.LayerNorm(384))), batch)
    compare(model, batch, aux=lambda z: z.mean(0).square().sum())


class Mixes(nn.Module):
    """Every sample sees all others, behind a factor that may start at 0; no parameter takes part."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x + self.factor * x.mean(0, keepdim=True)


class Reader(nn.Module):
    """Computes with the weight of a layer that it does not call."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x):
        return torch.einsum("oi,bihw->bohw", self.layer.weight, x)


class Twice(nn.Module):
    def __init__(self, width=None):
        super().__init__()
        self.layer = nn.Linear(width, width) if width else nn.Conv2d(6, 6, 1)

    def forward(self, x):
        return self.layer(self.layer(x).relu())


def _tied():
    layers = nn.Sequential(nn.Conv2d(6, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 1))
    layers[2].weight = layers[0].weight
    return layers


class SamplesSecond(nn.Module):
    """Positions before samples."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 64)

    def forward(self, x):
        return self.layer(x.flatten(2).transpose(0, 1).contiguous()).transpose(0, 1).view_as(x)


class Hides(nn.Module):
    """A weight that no function of torch's sees."""

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            ctx.save_for_backward(x, weight)
            return x * weight

        @staticmethod
        def backward(ctx, grad):
            x, weight = ctx.saved_tensors
            return grad * weight, (grad * x).sum()

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.Scaled.apply(x, self.weight)


REFUSED = {
    "batch norm": (lambda: nn.BatchNorm2d(6), "trunk.1 takes statistics over samples of all tasks"),
    "samples mixed": (Mixes, "an operation couples samples of different tasks, or hides a parameter"),
    "weight read": (Reader, "trunk.1.layer computes with a parameter by einsum"),
    "layer twice": (Twice, "a layer runs several times in a pass, or two layers share a parameter"),
    "tied": (_tied, "a layer runs several times in a pass, or two layers share a parameter"),
    "hidden": (Hides, "an operation couples samples of different tasks, or hides a parameter"),
    "normalised weight": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(6, 6, 1)),
        "trunk.1.parametrizations.weight computes with a parameter by _weight_norm",
    ),
    "samples second": (
        SamplesSecond,
        "a layer computes with (6, 5, 64), which has no row for each of 5 samples",
    ),
}


def test_adapters_under_checkpoints_where_a_pass_is_given_up():
    torch.manual_seed(0)
    network = vit()
    network.blocks[1].mlp.act = nn.Sequential(nn.GELU(), Twice(192))
    mola.adapt(network, experts=4, rank=1, where=ADAPTED)
    network.set_grad_checkpointing(True)
    batch, balancer = batch_of([0, 3, 1]), Rows.create(TASKS)
    step(prepared(Model(network, GATES["index"]), batch), batch, balancer)
    assert balancer.passes.startswith(EACH)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_couples_samples_or_hides_parameters_takes_a_pass_for_each_task(kind, caplog):
    """To the last bit what it was without trying, dropout and running statistics included; said once."""
    torch.manual_seed(0)
    make, reason = REFUSED[kind]
    batch = batch_of([1, 0, 3, 0, 1], (6, 8, 8))
    trunk = nn.Sequential(nn.Conv2d(6, 6, 1), make(), nn.Dropout(0.2))
    model = prepared(Model(trunk), batch)
    twin, one, many = copy.deepcopy(model), Rows.create(TASKS), Rows.create(TASKS)
    results = []
    with caplog.at_level(logging.INFO, "mola.balancers"):
        for each, balancer, harness in ((model, one, True), (twin, many, False)):
            torch.manual_seed(3)
            results.append([step(each, batch, balancer, harness=harness) for _ in range(2)])
    assert one.passes.startswith(EACH) and one.passes == EACH + reason
    assert [record.getMessage() for record in caplog.records if "backward passes" in record.getMessage()] == [
        f"backward passes for the gradients of the shared parameters: {one.passes}"
    ]
    for (matrix, gradients), (expected, others) in zip(*results, strict=True):
        assert torch.equal(matrix, expected)
        assert all(a is b is None or torch.equal(a, b) for a, b in zip(gradients, others, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), twin.buffers(), strict=True))


def test_a_coupling_that_begins_later_is_noticed(caplog):
    torch.manual_seed(0)
    batch, balancer = batch_of([0, 1, 2, 3], (6, 8, 8)), Rows.create(TASKS)
    model = prepared(Model(nn.Sequential(nn.Conv2d(6, 6, 1), Mixes(0.0))), batch)
    for number in range(1, 101):
        step(model, batch, balancer)
        model.trunk[1].factor = 0.5
        assert (balancer.passes == ONE) == (number < 100)
    assert "the gradients of the steps since the last trial may have been wrong" in caplog.text
    expected, _ = step(model, batch, Rows.create(TASKS), harness=False)
    assert torch.equal(balancer.matrix, expected)


def test_trying_changes_no_bit():
    """A process that resumes a run tries at other steps than the uninterrupted one."""
    torch.manual_seed(0)
    batch = batch_of([0, 0, 2, 3, 3])
    model = prepared(Model(vit(drop_rate=0.2, proj_drop_rate=0.2)), batch)
    old, new = Rows.create(TASKS), Rows.create(TASKS)
    for _ in range(2):
        step(model, batch, old)
    torch.manual_seed(4)
    without = step(model, batch, old)
    state = torch.get_rng_state()
    torch.manual_seed(4)
    trying = step(model, batch, new)
    assert torch.equal(state, torch.get_rng_state())
    pairs = zip([without[0], *without[1]], [trying[0], *trying[1]], strict=True)
    assert all(a is b is None or torch.equal(a, b) for a, b in pairs)


def test_a_resumed_balancer_knows_what_was_found_and_when_the_next_trial_is_due():
    torch.manual_seed(0)
    batch, before, after = batch_of([0, 1, 2, 3], (6, 8, 8)), Rows.create(TASKS), Rows.create(TASKS)
    one_way = prepared(Model(nn.Conv2d(6, 6, 1)), batch)
    for _ in range(3):
        step(one_way, batch, before)
    after.load_state_dict(before.state_dict())
    # saved again before there is a model
    assert after.state_dict() == before.state_dict() != {}
    step(one_way, batch, after)
    assert (after._one_pass.steps, after.passes) == (4, ONE)

    refused = Rows.create(TASKS)
    step(prepared(Model(nn.Sequential(nn.Conv2d(6, 6, 1), Mixes(0.5))), batch), batch, refused)
    after = Rows.create(TASKS)
    after.load_state_dict(refused.state_dict())
    step(one_way, batch, after)
    assert after.passes == refused.passes != ONE, "what one process refused, the next does not try again"


def test_a_trial_frees_the_first_graph_before_the_second():
    batch, balancer = batch_of([0, 1, 2, 3], (6, 8, 8)), Rows.create(TASKS)
    model, alive = prepared(Model(nn.Conv2d(6, 6, 1)), batch), []

    class Output:
        pass

    def compute():
        gc.collect()
        assert not any(output() for output in alive), "the output of the first pass, and so its graph, is still there"
        output = Output()
        alive.append(weakref.ref(output))
        return output, model(batch)

    balancer.forward(compute, model, model.shared, batch)
    assert len(alive) == 2


def test_images_that_have_every_task_take_a_pass_for_each():
    batch = batch_of([0, 0, 0], (6, 8, 8))
    batch = Batch(batch.x, None, {name: torch.zeros(3, dtype=torch.int64) for name in NAMES}, NAMES)
    balancer = Rows.create(TASKS)
    step(prepared(Model(nn.Conv2d(6, 6, 1)), batch), batch, balancer)
    assert balancer.passes == EACH + "every image has every task"


def test_a_checkpoint_around_everything():
    torch.manual_seed(0)

    class Checkpointed(nn.Sequential):
        def forward(self, x):
            return checkpoint(super().forward, x.requires_grad_(), use_reentrant=False)

    batch = batch_of([0, 1, 1, 3], (6, 8, 8))
    compare(prepared(Model(Checkpointed(nn.Conv2d(6, 6, 3), nn.GroupNorm(2, 6), nn.Dropout(0.3))), batch), batch)


@pytest.mark.parametrize("name", JACOBIAN)
def test_every_jacobian_balancer_takes_one_pass(name):
    if name == "cagrad":
        pytest.importorskip("cvxpy")
    torch.manual_seed(0)
    batches = [batch_of(task, (6, 8, 8)) for task in ([0, 1, 1, 2, 3], [3, 0, 0, 3])]
    model = prepared(Model(nn.Sequential(nn.Conv2d(6, 6, 3), nn.GroupNorm(2, 6), nn.ReLU())), batches[0])
    results = []
    for harness in (True, False):
        balancer, gradients = registry.load("balancers", name).create(TASKS), []
        torch.manual_seed(1)
        for batch in batches:
            losses = {}

            def compute(batch=batch):
                return None, model(batch)

            _, losses = balancer.forward(compute, model, model.shared, batch) if harness else compute()
            model.zero_grad(set_to_none=True)
            balancer.backward(losses, None, model.shared, [*model.heads.parameters()])
            gradients += [p.grad for p in model.parameters()]
        results.append(gradients)
        assert balancer.passes == (ONE if harness else None)
    for a, b in zip(*results, strict=True):
        assert a is b is None or torch.allclose(a, b, rtol=1e-5, atol=1e-8)
