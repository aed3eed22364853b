"""Every plan computes the written formula: each is forced on layers that would choose another."""

import copy
import logging

import pytest
import torch
from reference import filled, output_by_samples
from torch import nn

import mola
from mola.layers.adapter import LowRankConv2d, LowRankLinear
from mola.layers.gate_kinds import IndexGate, WeightGate, as_gate
from mola.layers.plans import dispatch
from mola.layers.plans.operations import Convolve
from mola.types import BadInput

CPU = torch.device("cpu")
LAYERS = {
    "3x3 strided": lambda: LowRankConv2d(nn.Conv2d(5, 8, 3, stride=2, padding=1), 4, 2),
    "1x1": lambda: LowRankConv2d(nn.Conv2d(5, 8, 1), 4, 2),
    "1x1 strided": lambda: LowRankConv2d(nn.Conv2d(5, 8, 1, stride=(1, 3), bias=False), 4, 2),
    "1x1, wide rank": lambda: LowRankConv2d(nn.Conv2d(5, 8, 1, stride=8), 4, 5),
    "1x1 padded": lambda: LowRankConv2d(nn.Conv2d(5, 8, 1, padding=1), 4, 2),
    "1x1, two_conv": lambda: LowRankConv2d(nn.Conv2d(5, 8, 1), 4, 2, factorisation="two_conv"),
    "dilated": lambda: LowRankConv2d(nn.Conv2d(5, 8, 3, dilation=2, padding=2), 4, 2),
    "two_conv": lambda: LowRankConv2d(nn.Conv2d(5, 8, 3, padding=1), 4, 2, factorisation="two_conv"),
    "two_conv, one by three": lambda: LowRankConv2d(
        nn.Conv2d(5, 8, (1, 3), padding=(0, 1)), 4, 2, factorisation="two_conv"
    ),
    "same, even kernel": lambda: LowRankConv2d(nn.Conv2d(5, 8, 2, padding="same"), 4, 2),
    "same, odd kernel": lambda: LowRankConv2d(nn.Conv2d(5, 8, 3, padding="same"), 4, 2),
    "valid": lambda: LowRankConv2d(nn.Conv2d(5, 8, 3, padding="valid"), 4, 2),
    "circular": lambda: LowRankConv2d(nn.Conv2d(5, 8, 3, padding=1, padding_mode="circular"), 4, 2),
    "grouped": lambda: LowRankConv2d(nn.Conv2d(6, 8, 3, padding=1, groups=2), 4, 2),
    "depthwise, two_conv": lambda: LowRankConv2d(nn.Conv2d(6, 6, 3, groups=6), 4, 2, factorisation="two_conv"),
    "linear": lambda: LowRankLinear(nn.Linear(5, 8), 4, 2),
    "linear, no bias": lambda: LowRankLinear(nn.Linear(5, 8, bias=False), 4, 2),
}
GATES = {
    "mixed": torch.tensor([3, 0, 3, 1]),
    "sorted": torch.tensor([0, 1, 3, 3]),
    "one expert": torch.tensor([2, 2, 2, 2]),
    "one sample": torch.tensor([1]),
    "weights": torch.tensor([[0.5, -1, 0, 2], [0, 0, 1, 0], [1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4]]),
    "weights of one sample": torch.tensor([[0.5, -1, 0, 2]]),
}
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


def inputs(layer, size):
    if isinstance(layer, LowRankLinear):
        return torch.randn(size, 7, 5, dtype=layer.weight.dtype)
    return torch.randn(size, layer.in_channels, 9, 7, dtype=layer.weight.dtype)


def gradients(y, asked):
    upstream = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    return torch.autograd.grad(y, asked, upstream)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["fp64", "fp32"])
@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
@pytest.mark.parametrize("name", LAYERS)
def test_every_plan_is_the_formula(name, gate, dtype):
    """Values, and the gradients of the input, the gate, W, bias, A and B."""
    layer = filled(LAYERS[name]().to(dtype))
    x = inputs(layer, len(gate)).requires_grad_()
    if gate.is_floating_point():
        gate = gate.to(dtype).requires_grad_()
    weights = gate if gate.is_floating_point() else nn.functional.one_hot(gate, 4).to(dtype)
    asked = [x, *layer.parameters(), *([gate] if gate.requires_grad else [])]
    expected = output_by_samples(layer, x, weights)
    expected_gradients = gradients(expected, asked)
    possible = dispatch.applicable(layer, as_gate(gate, 4, CPU))
    assert set(possible) >= {"stacked", "merged"}
    for plan in (None, *possible):
        layer.plan = plan
        with mola.gate(layer, gate):
            y = layer(x)
        assert layer.last_plan == plan or plan is None
        tolerance = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
        torch.testing.assert_close(y, expected, **tolerance)
        for one, other in zip(gradients(y, asked), expected_gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=10 * TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize("frozen", ["weight bias", "A B", "x", "x weight bias", "B weight", "A x"])
@pytest.mark.parametrize("name", ["3x3 strided", "linear"])
def test_what_is_frozen_costs_no_gradient_and_changes_no_other(name, frozen):
    layer = filled(LAYERS[name]().double())
    for gate in (GATES["mixed"], GATES["weights"].double()):
        for plan in dispatch.applicable(layer, as_gate(gate, 4, CPU)):
            layer.plan = plan
            x = inputs(layer, 4)
            outcomes = []
            for frozen_now in ("", frozen):
                x = x.detach().requires_grad_("x" not in frozen_now.split())
                for key, parameter in layer.named_parameters():
                    parameter.requires_grad_(key not in frozen_now.split())
                with mola.gate(layer, gate):
                    y = layer(x)
                asked = {k: v for k, v in {"x": x, **dict(layer.named_parameters())}.items() if v.requires_grad}
                outcomes.append(dict(zip(asked, gradients(y, list(asked.values())), strict=True)))
            assert set(outcomes[1]) == set(outcomes[0]) - set(frozen.split())
            for key, value in outcomes[1].items():
                torch.testing.assert_close(value, outcomes[0][key], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("factorisation", ["loralib", "two_conv"])
def test_memory_formats_and_many_experts(factorisation, memory_format):
    """Twelve experts: the small maps are more than the input and are made again in backward."""
    layer = filled(LowRankConv2d(nn.Conv2d(7, 8, 3, padding=1), 12, 2, factorisation=factorisation).double())
    layer.to(memory_format=memory_format)
    x = torch.randn(4, 7, 9, 9, dtype=torch.float64).to(memory_format=memory_format)
    gate = torch.randn(4, 12, dtype=torch.float64).requires_grad_()
    expected = output_by_samples(layer, x, gate)
    with mola.gate(layer, gate):
        y = layer(x)
    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
    asked = [gate, *layer.parameters()]
    for one, other in zip(gradients(y, asked), gradients(expected, asked), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("gate", ["one sample", "weights of one sample"])
def test_one_sample_in_channels_last_through_grouped_convolutions_adapted_and_plain(gate, groups):
    """Torch takes a wrong gradient of a grouped convolution's weight where a map's strides aren't a fresh one's."""
    convolutions = nn.Conv2d(4, 4, 1), *(nn.Conv2d(4, 4, 3, groups=groups, bias=False) for _ in range(2))
    network = mola.adapt(nn.Sequential(*convolutions).double(), experts=4, rank=1, where="[02]")
    layers = filled(network[0]), filled(network[2])
    x, gate = torch.randn(1, 4, 7, 6, dtype=torch.float64), GATES[gate]
    gate = gate.double() if gate.is_floating_point() else gate
    weights = gate if gate.is_floating_point() else nn.functional.one_hot(gate, 4).double()
    expected = output_by_samples(layers[1], network[1](output_by_samples(layers[0], x, weights)), weights)
    expected_gradients = gradients(expected, list(network.parameters()))
    network.to(memory_format=torch.channels_last)
    x = x.contiguous(memory_format=torch.channels_last)
    for plan in ("grouped", "separate", "factored", "stacked", "merged"):
        for layer in layers:
            layer.plan = plan if plan in dispatch.applicable(layer, as_gate(gate, 4, CPU)) else None
        with mola.gate(network, gate):
            y = network(x)
        torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-10)
        for one, other in zip(gradients(y, list(network.parameters())), expected_gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["plain", "last"])
@pytest.mark.parametrize("gate", [GATES["mixed"], GATES["weights"]], ids=["index", "weights"])
@pytest.mark.parametrize("name", ["3x3 strided", "1x1", "1x1 strided", "two_conv", "grouped", "linear"])
def test_gradients_of_several_losses_at_once(name, gate, memory_format):
    """Balancers take the gradient of every task's loss in one backward under vmap, as TorchJD does."""
    layer = filled(LAYERS[name]().double()).to(memory_format=memory_format)
    x = inputs(layer, 4)
    x = (x.to(memory_format=memory_format) if x.dim() == 4 else x).requires_grad_()
    gate = gate.double().requires_grad_() if gate.is_floating_point() else gate
    asked = [x, *layer.parameters(), *([gate] if gate.requires_grad else [])]
    for plan in (None, *dispatch.applicable(layer, as_gate(gate, 4, CPU))):
        layer.plan = plan
        with mola.gate(layer, gate):
            y = layer(x)
        upstream = torch.randn(3, *y.shape, dtype=y.dtype)
        one_by_one = [torch.autograd.grad(y, asked, each, retain_graph=True) for each in upstream]
        expected = [torch.stack(rows) for rows in zip(*one_by_one, strict=True)]

        batched = torch.autograd.grad(y, asked, upstream, retain_graph=True, is_grads_batched=True)
        mapped = torch.vmap(lambda each, y=y: torch.autograd.grad(y, asked, each, retain_graph=True))(upstream)
        for together in (batched, mapped):
            for one, other in zip(together, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("gate", [GATES["mixed"], GATES["weights"]], ids=["index", "weights"])
@pytest.mark.parametrize("name", ["3x3 strided", "1x1", "linear", "grouped"])
def test_autocast_computes_in_half_precision(name, gate):
    layer = filled(LAYERS[name]())
    x = inputs(layer, 4).requires_grad_()
    weights = gate if gate.is_floating_point() else nn.functional.one_hot(gate, 4).float()
    expected = output_by_samples(layer, x, weights)
    for plan in (None, *dispatch.applicable(layer, as_gate(gate, 4, CPU))):
        layer.plan = plan
        with torch.autocast("cpu", torch.bfloat16), mola.gate(layer, gate):
            y = layer(x)
        assert y.dtype == torch.bfloat16
        torch.testing.assert_close(y.float(), expected, rtol=0.03, atol=0.03 * float(expected.detach().abs().max()))
        for parameter, grad in zip(layer.parameters(), gradients(y, list(layer.parameters())), strict=True):
            assert grad.dtype == parameter.dtype == torch.float32


@pytest.mark.parametrize("plan", ["merged", "grouped"])
@pytest.mark.parametrize("name", ["3x3 strided", "linear"])
def test_autocast_rounds_the_sum_of_weight_and_update_once(name, plan):
    """bfloat16 knows 1 and 1 + 2⁻⁷. A weight of 1 + 2⁻⁸ − 2⁻¹⁰ alone is rounded to 1, with an update of 2⁻⁹ to the
    other; if both were rounded before they are added, the sum would be 1.
    """
    layer = LAYERS[name]()
    layer.plan = plan
    x = torch.ones_like(inputs(layer, 4))
    with torch.no_grad():
        layer.bias.zero_()
        layer.A.fill_(1.0)
        layer.B.fill_(2**-9 / layer.alpha * layer.rank / layer.A.shape[1])
        layer.weight.fill_(1.0)
        torch.testing.assert_close(layer.delta(), torch.full_like(layer.delta(), 2**-9))
        zeros = torch.zeros(4, 4)  # without any update the weight of 1 sums up what it sees
        with mola.gate(layer, zeros):
            layer.plan = None
            sums = layer(x)
            layer.plan = plan
        layer.weight.fill_(1 + 2**-8 - 2**-10)
        with torch.autocast("cpu", torch.bfloat16), mola.gate(layer, torch.tensor([3, 0, 0, 2])):
            y = layer(x).float()
    assert ((y - (1 + 2**-7) * sums).abs() < (y - sums).abs()).all()


@pytest.mark.parametrize("gate", ["index", "weights"])
def test_ten_steps_of_training_agree(gate):
    """A small network with BatchNorm, momentum and weight decay, in fp64: the same trajectory with every plan."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, stride=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1, stride=2)
    )
    network = nn.Sequential(network, nn.ReLU(), nn.Flatten(2), nn.Linear(9, 5), nn.Flatten(), nn.Linear(40, 3)).double()
    mola.adapt(network, experts=3, rank=2)
    index = torch.randint(3, (10, 6))
    weights = torch.randn(10, 6, 3, dtype=torch.float64).softmax(2)
    x, y = torch.randn(10, 6, 3, 12, 12, dtype=torch.float64), torch.randint(3, (10, 6))
    curves = {}
    for plan in ("auto", *(("grouped", "separate") if gate == "index" else ("factored",)), "stacked", "merged"):
        model = copy.deepcopy(network)
        for layer in model.modules():
            if isinstance(layer, LowRankConv2d | LowRankLinear):
                layer.plan = dispatch.as_plan(plan)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
        curves[plan] = []
        for step in range(10):
            optimizer.zero_grad()
            with mola.gate(model, index[step] if gate == "index" else weights[step]):
                loss = nn.functional.cross_entropy(model(x[step]), y[step])
            loss.backward()
            optimizer.step()
            curves[plan].append(float(loss.detach()))
        curves[plan].extend(float(parameter.detach().sum()) for parameter in model.parameters())
    assert curves["auto"][0] != pytest.approx(curves["auto"][9], rel=1e-2)
    for curve in curves.values():
        assert curve == pytest.approx(curves["auto"], rel=1e-8, abs=1e-10)


def test_the_choice():
    index = as_gate(torch.tensor([0, 1, 2, 3] * 16), 4, CPU)
    assert isinstance(index, IndexGate)
    assert index.present == (0, 1, 2, 3)
    wide, grouped = (LowRankConv2d(nn.Conv2d(256, 256, 3, groups=g), 4, 2) for g in (1, 2))
    flat = LowRankLinear(nn.Linear(256, 256), 4, 2)
    assert dispatch.choose(wide, index, positions=1) == "separate"
    assert dispatch.choose(wide, index, positions=64) == "grouped"
    assert dispatch.choose(grouped, index, positions=1) == "grouped"
    point = LowRankConv2d(nn.Conv2d(256, 256, 1), 4, 2)
    assert dispatch.choose(point, index, positions=16, pointwise=True) == "separate"
    assert dispatch.choose(wide, index, positions=16) == "grouped"
    assert dispatch.choose(point, index, positions=256, pointwise=True) == "grouped"
    for side, on_points in ((1, True), (8, False)):  # of 7 × 9 or of two positions
        wide_rank = LowRankConv2d(nn.Conv2d(5, 8, 1, stride=side), 4, 5)
        x = inputs(wide_rank, 4)
        assert dispatch._on_points(Convolve((side, side)), x, wide_rank.weight, wide_rank.A) == on_points
    assert dispatch.choose(flat, index, positions=64) == "separate"
    weights, single = (WeightGate(torch.rand(size, 4)) for size in (8, 1))
    assert dispatch.choose(wide, weights, positions=4096) == "factored"
    assert dispatch.choose(grouped, weights, positions=64) == "stacked"
    assert dispatch.choose(flat, weights, positions=64) == "factored"
    assert dispatch.choose(wide, single, positions=4096) == "merged"
    assert dispatch.choose(wide, single, positions=16) == "factored"


def test_the_choice_is_logged_once(caplog):
    layer = filled(LAYERS["3x3 strided"]())
    with caplog.at_level(logging.DEBUG, logger="mola"), mola.gate(layer, GATES["mixed"]):
        layer(inputs(layer, 4))
        layer(inputs(layer, 4))
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == ["separate"]


def test_a_plan_that_does_not_exist_or_does_not_apply():
    with pytest.raises(BadInput, match=r"plan: expected auto, grouped, .* found 'fastest'"):
        mola.adapt(nn.Sequential(nn.Linear(4, 4)), experts=2, rank=1, plan="fastest")
    model = mola.adapt(nn.Sequential(nn.Linear(4, 4)), experts=2, rank=1, plan="grouped")
    with mola.gate(model, torch.rand(3, 2)), pytest.raises(BadInput, match="takes factored, stacked, merged with a we"):
        model(torch.zeros(3, 4))
    layer = LAYERS["grouped"]()
    layer.plan = "separate"
    with mola.gate(layer, GATES["mixed"]), pytest.raises(BadInput, match="takes grouped, stacked, merged with an ind"):
        layer(inputs(layer, 4))
