"""Thin products of the whole batch at once, of an index gate in linear layers and of sparse gates in all."""

import pytest
import torch
from networks import live
from reference import filled, output_by_samples
from test_plans import CPU, GATES, LAYERS, TOLERANCE, gradients, inputs
from torch import nn

import mola
from mola.layers.adapter import LowRankConv2d, LowRankLinear
from mola.layers.gate_kinds import WeightGate, as_gate
from mola.layers.plans import dispatch, samples
from mola.layers.plans.indexed import Permuted
from mola.types import BadInput

UNGROUPED = [name for name in LAYERS if name not in ("grouped", "depthwise, two_conv")]
CHOSEN = {
    "two of four": torch.tensor([[3, 0], [0, 1], [3, 1], [1, 3]]),
    "absent experts": torch.tensor([[2], [2], [0], [2]]),
    "one twice": torch.tensor([[3, 3], [0, 1], [3, 1], [2, 2]]),
    "one sample": torch.tensor([[1, 3]]),
}


def sparse(chosen, dtype=torch.float64):
    """A sparse gate that asks for gradients, and the same as weights (B, 4)."""
    weights = torch.linspace(-1, 2, chosen.numel()).view(chosen.shape).to(dtype).requires_grad_()
    return (weights, chosen), torch.zeros(len(chosen), 4, dtype=dtype).scatter_add(1, chosen, weights)


def agree(actual, expected, tolerance):
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=["fp64", "fp32"])
@pytest.mark.parametrize("chosen", CHOSEN.values(), ids=CHOSEN)
@pytest.mark.parametrize("name", UNGROUPED)
def test_a_sparse_gate_is_the_formula(name, chosen, dtype, monkeypatch):
    """Values, and the gradients of the input, the gate, W, bias, A and B; few columns at a time, and all at once."""
    layer = filled(LAYERS[name]().to(dtype))
    x = inputs(layer, len(chosen)).requires_grad_()
    gate, weights = sparse(chosen, dtype)
    asked = [x, *layer.parameters(), gate[0]]
    expected = output_by_samples(layer, x, weights)
    expected_gradients = gradients(expected, asked)
    layer.plan = "separate"
    for columns in (samples.MANY_COLUMNS, 100):
        monkeypatch.setattr(samples, "MANY_COLUMNS", columns)
        with mola.gate(layer, gate):
            y = layer(x)
        agree([y], [expected], TOLERANCE[dtype])
        agree(gradients(y, asked), expected_gradients, 10 * TOLERANCE[dtype])


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["plain", "last"])
@pytest.mark.parametrize("name", ["3x3 strided", "1x1 strided", "two_conv", "linear"])
def test_gradients_of_several_losses_at_once_of_a_sparse_gate(name, memory_format):
    layer = filled(LAYERS[name]().double()).to(memory_format=memory_format)
    layer.plan = "separate"
    x = inputs(layer, 4)
    x = (x.to(memory_format=memory_format) if x.dim() == 4 else x).requires_grad_()
    gate, _ = sparse(CHOSEN["two of four"])
    asked = [x, *layer.parameters(), gate[0]]
    with mola.gate(layer, gate):
        y = layer(x)
    upstream = torch.randn(3, *y.shape, dtype=y.dtype)
    one_by_one = [torch.autograd.grad(y, asked, each, retain_graph=True) for each in upstream]
    together = torch.autograd.grad(y, asked, upstream, is_grads_batched=True)
    agree(together, [torch.stack(rows) for rows in zip(*one_by_one, strict=True)], 1e-10)


@pytest.mark.parametrize("frozen", ["weight bias", "A B", "x", "gate", "B weight", "A x gate"])
@pytest.mark.parametrize("name", ["3x3 strided", "1x1", "linear"])
def test_what_is_frozen_changes_no_other_gradient_of_a_sparse_gate(name, frozen):
    layer = filled(LAYERS[name]().double())
    layer.plan = "separate"
    (weights, chosen), _ = sparse(CHOSEN["two of four"])
    every = {"x": inputs(layer, 4).requires_grad_(), "gate": weights, **dict(layer.named_parameters())}

    def outcome(frozen):
        for key, tensor in every.items():
            tensor.requires_grad_(key not in frozen)
        with mola.gate(layer, (weights, chosen)):
            y = layer(every["x"])
        asked = {key: tensor for key, tensor in every.items() if tensor.requires_grad}
        return dict(zip(asked, gradients(y, list(asked.values())), strict=True))

    of_all, of_some = outcome([]), outcome(frozen.split())
    assert set(of_some) == set(of_all) - set(frozen.split())
    agree(of_some.values(), [of_all[key] for key in of_some], 1e-12)


@pytest.mark.parametrize("name", ["3x3 strided", "1x1", "linear"])
def test_autocast_computes_a_sparse_gate_in_half_precision(name):
    layer = filled(LAYERS[name]())
    layer.plan = "separate"
    x = inputs(layer, 4).requires_grad_()
    gate, weights = sparse(CHOSEN["two of four"], torch.float32)
    expected = output_by_samples(layer, x, weights)
    expected_gradients = gradients(expected, list(layer.parameters()))
    with torch.autocast("cpu", torch.bfloat16), mola.gate(layer, gate):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), expected, rtol=0.03, atol=0.03 * float(expected.detach().abs().max()))
    actual = gradients(y, list(layer.parameters()))
    for parameter, one, other in zip(layer.parameters(), actual, expected_gradients, strict=True):
        assert one.dtype == parameter.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05 * float(other.abs().max()))


@pytest.mark.parametrize("name", ["3x3 strided", "linear"])
def test_a_sparse_gate_compiles(name):
    layer = filled(LAYERS[name]().double())
    layer.plan = "separate"
    x = inputs(layer, 4).requires_grad_()
    gate, _ = sparse(CHOSEN["two of four"])
    asked = [x, *layer.parameters(), gate[0]]
    with mola.gate(layer, gate):
        y, expected = torch.compile(layer, backend="aot_eager", fullgraph=True)(x), layer(x)
    agree([y, *gradients(y, asked)], [expected, *gradients(expected, asked)], 1e-10)


@pytest.mark.parametrize("many", [0, 16], ids=["one expert after the other", "all at once"])
@pytest.mark.parametrize("gate", ["mixed", "sorted", "one expert", "one sample"])
@pytest.mark.parametrize("name", ["linear", "linear, no bias"])
def test_an_index_gate_in_a_linear_layer_either_way(name, gate, many, monkeypatch):
    """Fewer tokens than ranks, an input that is not contiguous, experts without samples; twice differentiated."""
    monkeypatch.setattr(dispatch, "FEW_SAMPLES", many)
    layer, gate = filled(LAYERS[name]().double()), GATES[gate]
    x = torch.randn(1, 5, len(gate), dtype=torch.float64).permute(2, 0, 1).requires_grad_()
    assert not x.is_contiguous() or len(gate) == 1
    asked = [x, *layer.parameters()]
    assert dispatch._by_samples(x, as_gate(gate, 4, CPU), layer.rank) == bool(many)

    def compute():
        with mola.gate(layer, gate):
            return layer(x)

    outcomes = []
    for of in (compute, lambda: output_by_samples(layer, x, nn.functional.one_hot(gate, 4).double())):
        first = torch.autograd.grad(of().sin().sum(), asked, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), asked)
        outcomes.append([of(), *gradients(of(), asked), *first, *second])
    agree(*outcomes, 1e-9)


@pytest.mark.parametrize("shape", [(0, 7, 5), (4, 0, 5), (64, 0, 5)], ids=["no sample", "no token", "many of none"])
def test_linear_layers_of_nothing(shape):
    layer = filled(LAYERS["linear"]())
    x = torch.zeros(shape, requires_grad=True)
    index = torch.arange(shape[0]) % 4
    for gate in (index, (torch.rand(shape[0], 2), torch.stack([index, index - 1], 1) % 4)):
        with mola.gate(layer, gate):
            y = layer(x)
        assert y.shape == (*shape[:2], 8)
        y.sum().backward()
        assert x.grad.shape == shape


def test_samples_are_put_back_by_the_inverse_in_their_memory_format():
    order = torch.tensor([2, 0, 3, 1])
    for shape in ((4, 3, 2, 5), (4, 3, 1, 1), (4, 3)):
        for memory_format in (torch.contiguous_format, torch.channels_last)[: len(shape) // 2]:
            x = torch.randn(shape).to(memory_format=memory_format).requires_grad_()
            upstream = torch.randn(shape)
            y, expected = Permuted.apply(x, order, order.argsort()), x[order]
            assert y.stride() == expected.stride()
            assert torch.equal(y, expected)
            gradients_of_both = [torch.autograd.grad(each, x, upstream)[0] for each in (y, expected)]
            assert torch.equal(*gradients_of_both)


def test_an_index_gate_s_batch_in_any_order_has_the_same_bits():
    """Sorting is all that a convolution's plans add to an unsorted batch."""
    network = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 5, 1))
    model = live(mola.adapt(network, experts=3, rank=2)).float()
    index, x = torch.tensor([2, 0, 1, 2, 0, 0]), torch.randn(6, 4, 9, 9)
    order = index.argsort(stable=True)
    outcomes = []
    for rows in (torch.arange(6), order):
        leaf = x[rows].requires_grad_()
        with mola.gate(model, index[rows]):
            y = model(leaf)
        upstream = torch.linspace(-1, 1, y.numel()).view_as(y)[rows]
        outcomes.append((y, torch.autograd.grad(y, leaf, upstream)[0]))
    for one, other in zip(*outcomes, strict=True):
        assert torch.equal(one[order], other)


def test_the_choice_of_a_sparse_gate():
    def gate(used, k):
        chosen = torch.arange(used * k).view(used, k) % used
        return as_gate((torch.ones(used, k), chosen), 64, CPU)

    wide = LowRankConv2d(nn.Conv2d(64, 64, 3), 64, 4)
    assert dispatch.choose(wide, gate(15, 2), positions=16) == "factored"
    assert dispatch.choose(wide, gate(16, 2), positions=16) == "separate"
    grouped = LowRankConv2d(nn.Conv2d(64, 64, 3, groups=2), 64, 4)
    assert dispatch.choose(grouped, gate(16, 2), positions=16) == "stacked"
    flat = LowRankLinear(nn.Linear(64, 64), 64, 4)
    assert dispatch.choose(flat, gate(3, 2), positions=8) == "separate"
    assert dispatch.choose(flat, gate(3, 2), positions=7) == "factored"
    assert dispatch.choose(flat, gate(2, 2), positions=8) == "factored"
    assert dispatch.choose(wide, WeightGate(torch.rand(16, 64)), positions=16) == "factored"


def test_the_choice_looks_at_the_size_of_copies():
    """As measured: with fewer tokens than ranks copies took up to nine times as long, on maps of 1 × 1 eight times
    the memory.
    """
    gate = as_gate((torch.rand(64, 2), torch.arange(128).view(64, 2) % 32), 32, CPU)
    pointwise = LowRankConv2d(nn.Conv2d(32, 32, 1), 32, 4)
    assert [dispatch.choose(pointwise, gate, n, True) for n in (3, 4)] == ["factored", "separate"]
    assert dispatch.choose(pointwise, gate, 3) == "separate"
    index = as_gate(torch.arange(9) % 4, 4, CPU)
    tokens = {n: torch.zeros(9, n, 5) for n in (0, 1, 4)}
    assert [dispatch._by_samples(x, index, 4) for x in tokens.values()] == [True, False, True]
    assert dispatch._by_samples(torch.zeros(8, 1, 5), as_gate(torch.arange(8) % 4, 4, CPU), 4)


REUSED = {
    "linear, index": lambda: (LowRankLinear(nn.Linear(5, 8), 4, 2), (4, 7, 5), torch.tensor([3, 0, 3, 1])),
    "convolution, index": lambda: (LowRankConv2d(nn.Conv2d(5, 8, 3), 4, 2), (4, 5, 7, 7), torch.tensor([3, 0, 3, 1])),
    "linear, sparse": lambda: (LowRankLinear(nn.Linear(5, 8), 4, 2), (4, 7, 5), CHOSEN["two of four"]),
    "convolution, sparse": lambda: (LowRankConv2d(nn.Conv2d(5, 8, 3), 16, 2), (16, 5, 7, 7), torch.arange(16)[:, None]),
}


@pytest.mark.parametrize("name", REUSED)
def test_the_caller_may_fill_its_indices_anew_before_the_backward_pass(name):
    """As a loop over micro-batches with one buffer does; and while the gate is open."""
    layer, shape, buffer = REUSED[name]()
    layer, x = filled(layer), torch.randn(shape)

    def gradient(anew):
        indices = buffer.clone()
        with mola.gate(layer, indices if indices.dim() == 1 else (torch.ones(indices.shape), indices)):
            y = layer(x)
            if anew:
                indices.fill_(0)
            torch.testing.assert_close(layer(x), y, rtol=0, atol=0)
        return torch.autograd.grad(y.square().sum(), layer.A)[0]

    torch.testing.assert_close(gradient(True), gradient(False), rtol=0, atol=0)


def test_a_gate_of_no_experts_is_refused():
    with pytest.raises(BadInput, match="expected an expert or more for each sample"):
        as_gate((torch.zeros(4, 0), torch.zeros(4, 0, dtype=torch.int64)), 4, CPU)
