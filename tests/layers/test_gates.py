import copy
import io
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from reference import filled
from torch import nn
from torch.utils.checkpoint import checkpoint

import mola
from mola.layers import gates
from mola.layers.adapter import LowRankConv2d, LowRankLinear


@pytest.fixture
def layer():
    return filled(LowRankLinear(nn.Linear(4, 5), 3, 2))


@pytest.fixture
def x():
    return torch.randn(2, 4)


def test_no_gate_is_an_error_that_says_what_to_do(layer, x):
    with pytest.raises(RuntimeError, match=r"with mola\.gate\(model, gate\)"):
        layer(x)


def test_gates_nest_and_close_under_exceptions(layer, x):
    zero, two = torch.tensor([0, 0]), torch.tensor([2, 2])
    with mola.gate(layer, zero):
        outer = layer(x)
        with mola.gate(layer, two):
            inner = layer(x)
        assert torch.equal(layer(x), outer)
        with pytest.raises(KeyError), mola.gate(layer, two):
            raise KeyError
        assert torch.equal(layer(x), outer)
        with torch.no_grad():
            assert torch.equal(layer(x), outer)
    assert not torch.equal(inner, outer)
    with pytest.raises(RuntimeError):
        layer(x)


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (torch.tensor([0, 3]), "expert indices from 0 to 2, found 3"),
        (torch.tensor([-1, 0]), "expert indices from 0 to 2, found -1"),
        (torch.zeros(2, 4), r"\(B, 3\) floating-point tensor of weights, found \(2, 4\) float32"),
        (torch.zeros(2, 3, dtype=torch.int64), r"found \(2, 3\) int64"),
        (torch.zeros(2), r"found \(2,\) float32"),
        (torch.zeros(2, dtype=torch.int32), "int32"),
        ([0, 1], "found list"),
    ],
)
def test_a_wrong_gate_is_refused_before_anything_runs(layer, gate, message):
    with pytest.raises(ValueError, match=message), mola.gate(layer, gate):
        raise AssertionError("the block must not run")


def test_a_gate_of_another_length(layer, x):
    for gate in (torch.tensor([0, 1, 2]), torch.rand(3, 3)):
        with pytest.raises(ValueError, match="found 3 for 2"), mola.gate(layer, gate):
            layer(x)


def test_a_model_without_adapters():
    with pytest.raises(ValueError, match=r"call mola\.adapt\(model"), mola.gate(nn.Linear(2, 2), torch.tensor([0])):
        pass


def test_a_gate_on_the_whole_reaches_the_adapted_part(x):
    whole = nn.Sequential(
        mola.adapt(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), experts=2, rank=1), nn.Linear(4, 1)
    )
    with mola.gate(whole, torch.tensor([1, 0])):
        assert whole(x).shape == (2, 1)


def test_a_copy_has_a_gate_of_its_own_and_pickles(layer, x):
    with mola.gate(layer, torch.tensor([0, 1])):
        twin = copy.deepcopy(layer)
        with pytest.raises(RuntimeError):
            twin(x)
        wanted = layer(x)
    buffer = io.BytesIO()
    torch.save(twin, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    with mola.gate(loaded, torch.tensor([0, 1])):
        assert torch.equal(loaded(x), wanted)
    assert set(layer.state_dict()) == {"weight", "bias", "A", "B"}


def test_copies_of_a_model_share_no_slot_but_their_layers_do():
    model = mola.adapt(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), experts=2, rank=1)
    twin = copy.deepcopy(model)
    assert model[0].slot is model[1].slot
    assert twin[0].slot is twin[1].slot
    assert twin[0].slot is not model[0].slot


@pytest.mark.parametrize("gate", [torch.zeros(0, dtype=torch.int64), torch.zeros(0, 3)], ids=["index", "weights"])
def test_an_empty_batch(layer, gate):
    with mola.gate(layer, gate):
        assert layer(torch.zeros(0, 4)).shape == (0, 5)
    convolution = filled(LowRankConv2d(nn.Conv2d(4, 5, 3), 3, 2))
    with mola.gate(convolution, gate):
        assert convolution(torch.zeros(0, 4, 8, 8)).shape == (0, 5, 6, 6)


def test_a_single_image_without_batch_axis_is_refused():
    """With C_in experts' worth of indices it would otherwise pass for a batch."""
    convolution = filled(LowRankConv2d(nn.Conv2d(4, 5, 3), 3, 2))
    gate = torch.zeros(4, dtype=torch.int64)
    with mola.gate(convolution, gate), pytest.raises(ValueError, match=r"\(B, C, H, W\), found \(4, 8, 8\)"):
        convolution(torch.zeros(4, 8, 8))


def test_a_sorted_and_an_unsorted_index_gate_agree(layer):
    x, index = torch.randn(6, 4), torch.tensor([2, 0, 1, 2, 0, 0])
    with mola.gate(layer, index):
        wanted = layer(x)
    order = index.argsort()
    with mola.gate(layer, index[order]):
        assert layer.slot.gate.order is None
        torch.testing.assert_close(layer(x[order]), wanted[order])


MIXED = torch.tensor([2, 0, 1, 2, 0, 0])


class Blocks(nn.Module):
    """Two adapted layers with a BatchNorm between; checkpointed on request."""

    def __init__(self, checkpointed=False):
        super().__init__()
        self.checkpointed = checkpointed
        self.first, self.norm, self.last = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)

    def block(self, x):
        return self.last(self.norm(self.first(x)))

    def forward(self, x):
        return checkpoint(self.block, x, use_reentrant=False) if self.checkpointed else self.block(x)


@pytest.fixture
def blocks():
    model = mola.adapt(Blocks().double(), experts=3, rank=2)
    filled(model.first)
    filled(model.last)
    return model.eval()


def gradients(model, y):
    return torch.autograd.grad(y.square().sum(), list(model.parameters()))


def test_a_model_sorts_its_batch_once_and_puts_the_output_back(blocks):
    x = torch.randn(6, 4, dtype=torch.float64)
    seen = []
    blocks.first.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with mola.gate(blocks, MIXED):
        y = blocks(x)
        alone = blocks.block(x)  # past the model's entry the layers sort for themselves
        assert blocks.first.slot.outside is None
    assert torch.equal(seen[0], x[MIXED.argsort(stable=True)])
    assert torch.equal(seen[1], x)
    torch.testing.assert_close(y, alone)
    for row, expert in enumerate(MIXED):
        with mola.gate(blocks, expert[None]):
            torch.testing.assert_close(y[row], blocks(x[row : row + 1])[0])


def test_an_exception_inside_the_model_leaves_the_gate_as_it_was(blocks):
    x = torch.randn(6, 4, dtype=torch.float64)
    with mola.gate(blocks, MIXED):
        wanted = blocks(x)
        handle = blocks.norm.register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            blocks(x)
        handle.remove()
        torch.testing.assert_close(blocks.block(x), wanted)


def test_outputs_that_can_and_cannot_be_put_back(blocks):
    x = torch.randn(6, 4, dtype=torch.float64)
    with mola.gate(blocks, MIXED):
        wanted = blocks(x)
        blocks.forward = lambda x: {"all": [blocks.block(x), blocks.block(x).sum()], "size": 6}
        found = blocks(x)
        torch.testing.assert_close(found["all"][0], wanted)
        torch.testing.assert_close(found["all"][1], wanted.sum())
        assert found["size"] == 6
        blocks.forward = lambda x: {blocks.block(x)}.__iter__()
        with pytest.raises(RuntimeError, match="can't put a set_iterator back into the batch's order"):
            blocks(x)


@pytest.mark.parametrize("gate", [MIXED, torch.rand(6, 3).double()], ids=["index", "weights"])
def test_a_checkpoint_recomputes_with_the_gate_of_its_forward(blocks, gate):
    x = torch.randn(6, 4, dtype=torch.float64)
    with mola.gate(blocks, gate):
        wanted = gradients(blocks, blocks(x))
        blocks.checkpointed = True
    with mola.gate(blocks, gate):
        for one, other in zip(gradients(blocks, blocks(x)), wanted, strict=True):
            torch.testing.assert_close(one, other)
    with mola.gate(blocks, gate):
        y = blocks(x)
    other = torch.rand(6, 3).double()
    with mola.gate(blocks, other), torch.no_grad():
        blocks(x)  # an evaluation between changes nothing
    with mola.gate(blocks, other):  # nor does the gate that is open in backward
        for one, expected in zip(gradients(blocks, y), wanted, strict=True):
            torch.testing.assert_close(one, expected)
    with mola.gate(blocks, other):
        assert not torch.allclose(gradients(blocks, blocks(x))[0], wanted[0])
    with mola.gate(blocks, gate):  # an outer gate, and backward behind the inner one
        with mola.gate(blocks, other):
            blocks(x)
            y = blocks(x)
        found = gradients(blocks, y)
    with mola.gate(blocks, other):
        for one, expected in zip(found, gradients(blocks, blocks(x)), strict=True):
            torch.testing.assert_close(one, expected)


@pytest.mark.parametrize("again", [lambda blocks, x: blocks.first(x), lambda blocks, x: blocks(x)])
def test_a_checkpoint_that_cannot_know_its_gate_says_so(blocks, again):
    blocks.checkpointed = True
    x = torch.randn(6, 4, dtype=torch.float64)
    with mola.gate(blocks, MIXED):
        y = blocks(x)
    with mola.gate(blocks, MIXED.flip(0)):
        again(blocks, x)
        with pytest.raises(RuntimeError, match="can't tell which to recompute with"):
            gradients(blocks, y)


def test_another_model_s_backward_is_not_taken_for_the_one_that_a_checkpoint_waits_for(blocks):
    blocks.checkpointed = True
    other = mola.adapt(Blocks().double(), experts=3, rank=2).eval()
    x = torch.randn(6, 4, dtype=torch.float64)
    with mola.gate(blocks, torch.rand(6, 3).double()):
        y = blocks(x)
    with mola.gate(other, MIXED):
        other(x).sum().backward()
    with mola.gate(blocks, torch.rand(6, 3).double()):
        blocks(x)
    with pytest.raises(RuntimeError, match="can't tell which to recompute with"):
        gradients(blocks, y)


class WithRouter(nn.Module):
    """A router and what it routes; ``within`` checkpoints a block under the gate."""

    def __init__(self, blocks, within=False):
        super().__init__()
        self.blocks, self.scores, self.within = blocks, nn.Linear(4, 3).double(), within

    def forward(self, x):
        with mola.gate(self.blocks, self.scores(x).softmax(1)):
            return checkpoint(self.blocks, x, use_reentrant=True) if self.within else self.blocks(x)


@pytest.mark.parametrize("within", [False, True], ids=["", "nested"])
@pytest.mark.parametrize("reentrant", [False, True], ids=["", "reentrant"])
def test_a_checkpoint_around_a_router_gives_it_its_gradient(blocks, reentrant, within):
    """What the checkpoint runs again opens the gate anew, also after another forward pass that waits."""
    model = WithRouter(blocks)
    inputs = [torch.randn(6, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    asked = [*inputs, *model.parameters()]

    def found(run):
        for tensor in asked:
            tensor.grad = None
        sum(run(x).square().sum() for x in inputs[: 1 if within else 2]).backward()
        return [tensor.grad for tensor in asked if tensor is not inputs[1] or not within]

    wanted = found(model)
    assert all(gradient.abs().sum() > 0 for gradient in wanted)
    model.within = within
    for one, other in zip(found(partial(checkpoint, model, use_reentrant=reentrant)), wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_a_model_of_several_tensors_is_refused_a_gate_that_fits_none_of_them(blocks):
    blocks.forward = lambda x, y: (pytest.fail("computed"), x)
    with mola.gate(blocks, MIXED), pytest.raises(ValueError, match="one entry per sample, found 6 for 5 or 2 samples"):
        blocks(torch.zeros(5, 4), torch.zeros(2, 4))
    blocks.forward = lambda x, y: blocks.block(x)
    with mola.gate(blocks, MIXED):
        assert blocks(torch.zeros(6, 4).double(), torch.zeros(2, 4)).shape == (6, 3)


@pytest.mark.parametrize(
    "gate", [MIXED, MIXED.sort().values, torch.rand(6, 3).double()], ids=["mixed", "sorted", "weights"]
)
def test_compiled_in_one_piece(blocks, gate):
    x = torch.randn(6, 4, dtype=torch.float64)
    compiled = torch.compile(blocks, backend="aot_eager", fullgraph=True)
    with mola.gate(blocks, gate):
        y, wanted = compiled(x), blocks(x)
        torch.testing.assert_close(y, wanted)
        for one, other in zip(gradients(blocks, y), gradients(blocks, wanted), strict=True):
            torch.testing.assert_close(one, other)


def test_a_sparse_gate_is_the_dense_one_and_skips_experts_nobody_chose(layer):
    x, scores = torch.randn(6, 4), torch.randn(6, 3)
    scores[:, 1] = -9
    scores.requires_grad_()
    values, chosen = scores.softmax(1).topk(2)
    dense = torch.zeros(6, 3).scatter(1, chosen, values)
    outcomes = []
    for gate in ((values, chosen), dense):
        with mola.gate(layer, gate):
            y = layer(x)
            if isinstance(gate, tuple):
                assert layer.slot.gate.experts.tolist() == [0, 2]
                assert layer.slot.gate.weights.shape == (6, 2)
        outcomes.append([y, *torch.autograd.grad(y.square().sum(), [scores, *layer.parameters()], retain_graph=True)])
    for one, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(one, other)
    assert (outcomes[0][-2][1] == 0).all()


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ((torch.rand(2, 2), torch.tensor([[0, 1], [1, 3]])), "expert indices from 0 to 2, found 3"),
        ((torch.rand(2, 2), torch.tensor([[0], [1]])), r"found \(2, 2\) float32 and \(2, 1\) int64"),
        ((torch.rand(2, 2), torch.rand(2, 2)), r"int64 experts, found \(2, 2\) float32"),
        (torch.rand(2, 3, device="meta"), "expected weights on cpu, where the layers are, found them on meta"),
        (torch.zeros(2, dtype=torch.int64, device="meta"), "expected indices on the CPU or on cpu, found them on meta"),
    ],
)
def test_wrong_sparse_gates_and_devices(layer, gate, message):
    with pytest.raises(ValueError, match=message), mola.gate(layer, gate):
        raise AssertionError("the block must not run")


def test_nan_is_looked_for_under_anomaly_detection(layer, x):
    weights = torch.tensor([[0.5, 0.5, 0.0], [float("nan"), 0.0, 1.0]])
    with mola.gate(layer, weights):
        assert layer(x)[1].isnan().all()
    anomaly = torch.autograd.set_detect_anomaly(True, check_nan=False)
    with anomaly, pytest.raises(ValueError, match="found NaN for sample 1"), mola.gate(layer, weights):
        raise AssertionError("the block must not run")


def test_a_gate_is_read_once_and_an_index_gate_builds_nothing_dense(monkeypatch):
    made = []
    checked = gates.checked
    monkeypatch.setattr(gates, "checked", lambda *args: made.append(args) or checked(*args))
    model = mola.adapt(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), experts=3, rank=1)
    with mola.gate(model, MIXED):
        model(torch.randn(6, 4))
        gate = model[0].slot.gate
    assert len(made) == 1
    assert all(v.dim() == 1 for v in vars(gate).values() if isinstance(v, torch.Tensor))


def test_replicas_have_gates_of_their_own(layer, x):
    replica = layer._replicate_for_data_parallel()
    with mola.gate(layer, torch.tensor([0, 1])):
        assert replica.slot.gate is None
        wanted = layer(x)
    for name, parameter in layer.named_parameters():  # as torch.nn.parallel.replicate leaves it
        setattr(replica, name, parameter.detach())
    assert not list(replica.parameters())
    with mola.gate(replica, torch.tensor([0, 1])):
        assert torch.equal(replica(x), wanted)


class Masked(nn.Module):
    """Takes a second tensor inside a dictionary; returns rows, or positions of all samples in one axis."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, more=None, merged=False):
        y = self.linear(x)
        y = y if more is None else y + more["mask"]
        return y.flatten(0, 1) if merged else y


def test_no_part_of_a_batch_is_sorted_without_the_rest():
    model = mola.adapt(Masked(), experts=3, rank=2)
    filled(model.linear)
    x, mask = torch.randn(6, 4), torch.randn(6, 4)
    with mola.gate(model, MIXED):
        torch.testing.assert_close(model(x, {"mask": mask}), model(x) + mask)
        with pytest.raises(RuntimeError, match=r"can't put an output \(24,\) back into the order of 6 samples"):
            model(x, merged=True)


class Routed(nn.Module):
    """Opens the gate in its own forward."""

    def __init__(self, plan="auto"):
        super().__init__()
        self.scores = nn.Linear(4, 3)
        self.blocks = mola.adapt(convolutions(), experts=3, rank=2, plan=plan)

    def forward(self, x):
        with mola.gate(self.blocks, self.scores(x.mean((2, 3))).softmax(1)):
            return self.blocks(x)


def convolutions():
    """A small network: strided, with BatchNorm, with groups, 1×1."""
    first = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU())
    return nn.Sequential(first, nn.Conv2d(6, 6, 3, groups=2, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 1))


def live(model):
    """In fp64, with adapters that are not zero."""
    for layer in model.double().modules():
        if isinstance(layer, LowRankConv2d):
            filled(layer)
    return model


PLANS = [(MIXED, "auto"), (MIXED, "stacked"), (MIXED, "merged"), (MIXED.sort().values, "auto")]
PLANS += [(torch.rand(6, 3).double(), plan) for plan in ("auto", "stacked", "merged")]
PLAN_NAMES = [f"{'weights' if gate.is_floating_point() else 'index'}-{plan}" for gate, plan in PLANS]


@pytest.mark.parametrize("reentrant", [False, True], ids=["", "reentrant"])
@pytest.mark.parametrize("extent", ["block", "network"])
@pytest.mark.parametrize(("gate", "plan"), PLANS, ids=PLAN_NAMES)
def test_a_checkpoint_of_convolutions_changes_no_gradient(gate, plan, extent, reentrant):
    """Of a block inside the network, which gets a sorted batch, and of the whole, whose entry sorts it. In backward
    the gate is closed, or another one is open.
    """
    model = live(mola.adapt(convolutions(), experts=3, rank=2, plan=plan))
    x = torch.randn(6, 4, 9, 9, dtype=torch.float64, requires_grad=True)
    gate = gate.clone().requires_grad_(gate.is_floating_point())
    asked = [x, *model.parameters(), *([gate] if gate.requires_grad else [])]

    def found(run, around=nullcontext):
        for tensor in asked:
            tensor.grad = None
        with mola.gate(model, gate):
            y = run(x)
        with around():
            y.square().sum().backward()
        return [y, *(tensor.grad for tensor in asked)]

    wanted, run = found(model), model
    assert all(gradient is not None for gradient in wanted)
    if extent == "network":
        run = partial(checkpoint, model, use_reentrant=reentrant)
    else:
        model[0].forward = partial(checkpoint, model[0].forward, use_reentrant=reentrant)
    for around in (nullcontext, lambda: mola.gate(model, MIXED.flip(0)), lambda: mola.gate(model, gate.detach())):
        for one, other in zip(found(run, around), wanted, strict=True):
            torch.testing.assert_close(one, other)


def test_a_checkpoint_of_the_whole_network_that_cannot_know_its_gate_says_so():
    model = mola.adapt(nn.Sequential(nn.Linear(4, 3)), experts=3, rank=2)
    outputs = []
    for size in (6, 5):
        with mola.gate(model, MIXED[:size]):
            outputs.append(checkpoint(model, torch.randn(size, 4), use_reentrant=False))
    with pytest.raises(RuntimeError, match="can't tell which to recompute with"):
        outputs[0].sum().backward()


@pytest.mark.parametrize(
    ("gate", "plan"),
    [(MIXED, "auto"), (MIXED, "separate"), (torch.rand(6, 3).double(), "auto")],
    ids=["index", "index-separate", "weights"],
)
def test_convolutions_compile_in_one_piece(gate, plan):
    network = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.Conv2d(6, 5, 1))
    model = live(mola.adapt(network, experts=3, rank=2, plan=plan))
    x = torch.randn(6, 4, 9, 9, dtype=torch.float64)
    with mola.gate(model, gate):
        y, wanted = torch.compile(model, backend="aot_eager", fullgraph=True)(x), model(x)
    torch.testing.assert_close(y, wanted)
    for one, other in zip(gradients(model, y), gradients(model, wanted), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("plan", ["auto", "merged"])
def test_a_model_that_routes_compiles_in_one_piece(plan):
    model = live(Routed(plan))
    x = torch.randn(6, 4, 9, 9, dtype=torch.float64)
    y, wanted = torch.compile(model, backend="aot_eager", fullgraph=True)(x), model(x)
    torch.testing.assert_close(y, wanted)
    for one, other in zip(gradients(model, y), gradients(model, wanted), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("gate", "plan"),
    [(MIXED, "grouped"), (MIXED, "separate"), (torch.rand(6, 3), "factored")],
    ids=lambda v: str(v)[:8],
)
def test_backward_keeps_its_precision_under_autocast(gate, plan):
    model = mola.adapt(nn.Sequential(nn.Conv2d(4, 6, 3), nn.Flatten(2), nn.Linear(9, 5)), experts=3, rank=2, plan=plan)
    filled(model[0])
    filled(model[2])
    x = torch.randn(6, 4, 5, 5)
    with mola.gate(model, gate):
        wanted, y = gradients(model, model(x)), model(x)
        with torch.autocast("cpu", torch.bfloat16):
            found = gradients(model, y)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_a_gate_of_another_length_stops_before_any_computation():
    model = mola.adapt(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)), experts=3, rank=1)
    for gate in (MIXED, torch.rand(6, 3)):
        with mola.gate(model, gate), pytest.raises(ValueError, match="found 6 for 5 samples"):
            model(torch.randn(5, 4))
    assert model[0].num_batches_tracked == 0
