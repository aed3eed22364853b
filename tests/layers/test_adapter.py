"""The layers against the written formula: values, and the gradients of W, A, B, bias, input and gate."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import delta_by_elements, filled, output_by_samples
from torch import nn
from torch.nn.utils import parametrize

import mola
from mola.layers import lowrank
from mola.layers.adapter import LowRankConv2d, LowRankLinear, adapter_parameters, largest_rank
from mola.layers.gate_kinds import as_gate
from mola.layers.plans import dispatch
from mola.types import BadInput

CONVOLUTIONS = {
    "1x1": {"kernel_size": 1},
    "3x3": {"kernel_size": 3, "padding": 1},
    "3x3 strided": {"kernel_size": 3, "stride": 2, "padding": 1},
    "3x3 dilated": {"kernel_size": 3, "dilation": 2, "padding": 2},
    "5x5": {"kernel_size": 5, "padding": 2, "bias": False},
    "7x7 strided": {"kernel_size": 7, "stride": 2, "padding": 3},
    "same": {"kernel_size": 3, "padding": "same"},
    "valid": {"kernel_size": 3, "padding": "valid"},
    "reflected": {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    "stride over kernel": {"kernel_size": 1, "stride": 3},
    "grouped": {"kernel_size": 3, "groups": 2, "padding": 1, "channels": (6, 4)},
    "depthwise": {"kernel_size": 3, "groups": 6, "padding": 1, "channels": (6, 6), "rank": 1},
    "depthwise multiplied": {"kernel_size": 5, "groups": 3, "stride": 2, "channels": (3, 9), "rank": 1},
    "one by seven, odd": {"kernel_size": 3, "channels": (7, 11), "rank": 3},
}
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


def convolution(how, factorisation, dtype, experts=3):
    how = dict(how)
    channels, rank = how.pop("channels", (5, 8)), how.pop("rank", 2)
    conv = nn.Conv2d(*channels, **how).to(dtype)
    return filled(LowRankConv2d(conv, experts, rank, 8.0, factorisation))


def compare(layer, x, gate, weights, dtype):
    """The layer under ``gate``, with the chosen plan and every other, against the formula under ``weights``: values,
    and the gradients of W, bias, A, B, the input and a dense gate.
    """
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    weights = weights.clone().requires_grad_()
    gate = weights if gate.is_floating_point() else gate
    asked = [*layer.parameters(), x, *([weights] if gate is weights else [])]
    expected = output_by_samples(layer, x, weights)
    upstream = torch.randn_like(expected)
    expected_gradients = torch.autograd.grad(expected, asked, upstream)
    tolerance = TOLERANCE[dtype]
    for plan in (None, *dispatch.applicable(layer, as_gate(gate, layer.experts, x.device))):
        layer.plan = plan
        with mola.gate(layer, gate):
            y = layer(x)
        torch.testing.assert_close(y, expected, rtol=tolerance, atol=tolerance)
        for one, other in zip(torch.autograd.grad(y, asked, upstream), expected_gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["fp64", "fp32"])
@pytest.mark.parametrize("factorisation", ["loralib", "two_conv"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_expert_index_one_hot_and_weights(name, factorisation, dtype):
    layer = convolution(CONVOLUTIONS[name], factorisation, dtype)
    x = torch.randn(4, layer.in_channels, 9, 9, dtype=dtype)
    index = torch.tensor([2, 0, 2, 0])  # unsorted, and expert 1 has no sample
    one_hot = nn.functional.one_hot(index, 3).to(dtype)
    compare(layer, x, index, one_hot, dtype)
    compare(layer, x, one_hot, one_hot, dtype)
    weights = torch.randn(4, 3, dtype=dtype)  # not even a softmax is needed
    compare(layer, x, weights, weights, dtype)


@pytest.mark.parametrize("factorisation", ["loralib", "two_conv"])
@pytest.mark.parametrize(
    "name", ["1x1", "3x3", "5x5", "grouped", "depthwise", "depthwise multiplied", "one by seven, odd"]
)
def test_delta_is_the_formula(name, factorisation):
    layer = convolution(CONVOLUTIONS[name], factorisation, torch.float64)
    torch.testing.assert_close(layer.delta(), delta_by_elements(layer), rtol=1e-12, atol=1e-12)


@settings(max_examples=40)
@given(
    kernel=st.sampled_from([1, 2, 3, 5]),
    groups=st.integers(1, 3),
    inputs=st.integers(1, 6),
    outputs=st.integers(1, 6),
    experts=st.integers(1, 5),
    size=st.integers(1, 5),
    stride=st.integers(1, 3),
    memory_format=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    data=st.data(),
)
def test_any_shape_and_every_plan(kernel, groups, inputs, outputs, experts, size, stride, memory_format, data):
    """C_in not divisible by k, groups, a batch of one, stride over the kernel, one expert, experts without samples.
    ``inputs`` and ``outputs`` are those of one group.
    """
    factorisation = data.draw(st.sampled_from(["loralib", "two_conv"]), "factorisation")
    conv = nn.Conv2d(groups * inputs, groups * outputs, kernel, stride, groups=groups, bias=data.draw(st.booleans()))
    rank = data.draw(st.integers(1, largest_rank(conv, factorisation)), "rank")
    layer = filled(LowRankConv2d(conv.double(), experts, rank, 3.0, factorisation)).to(memory_format=memory_format)
    x = torch.randn(size, groups * inputs, 7, 6, dtype=torch.float64).to(memory_format=memory_format)
    index = torch.tensor(data.draw(st.lists(st.integers(0, experts - 1), min_size=size, max_size=size), "index"))
    compare(layer, x, index, nn.functional.one_hot(index, experts).double(), torch.float64)
    weights = torch.rand(size, experts, dtype=torch.float64)
    compare(layer, x, weights, weights, torch.float64)


@pytest.mark.parametrize("shape", [(4, 5), (4, 7, 5), (4, 2, 3, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape, bias):
    layer = filled(LowRankLinear(nn.Linear(5, 6, bias=bias).double(), 3, 2))
    x, index = torch.randn(shape, dtype=torch.float64), torch.tensor([1, 0, 0, 1])
    compare(layer, x, index, nn.functional.one_hot(index, 3).double(), torch.float64)
    weights = torch.rand(4, 3, dtype=torch.float64)
    compare(layer, x, weights, weights, torch.float64)
    torch.testing.assert_close(layer.delta()[1], 8.0 * layer.B[1] @ layer.A[1])


@pytest.mark.parametrize("factorisation", ["loralib", "two_conv"])
def test_fresh_adapters_change_nothing_and_a_starts_like_a_matrix_of_its_own(factorisation):
    conv = nn.Conv2d(8, 16, 3, padding=1)
    before = conv(x := torch.randn(2, 8, 5, 5))
    layer = LowRankConv2d(conv, 4, 4, 16.0, factorisation)
    assert layer.weight is conv.weight and layer.bias is conv.bias
    for gate in (torch.tensor([3, 1]), torch.rand(2, 4)):
        with mola.gate(layer, gate):
            torch.testing.assert_close(layer(x), before)
    fan_in = 8 * 3 if factorisation == "loralib" else 8 * 9
    assert layer.A.abs().max() <= fan_in**-0.5
    assert layer.A.std().item() == pytest.approx(fan_in**-0.5 / 3**0.5, rel=0.1)
    assert (layer.B == 0).all()


def test_only_the_experts_present_get_a_gradient():
    layer = convolution(CONVOLUTIONS["3x3"], "loralib", torch.float32)
    with mola.gate(layer, torch.tensor([2, 2])):
        layer(torch.randn(2, 5, 6, 6)).sum().backward()
    for parameter in (layer.A, layer.B):
        reached = parameter.grad.flatten(1).abs().sum(1) > 0
        assert reached.tolist() == [False, False, True]


def test_small_updates_survive_autocast():
    layer = convolution(CONVOLUTIONS["3x3"], "loralib", torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.delta(), convolution_delta := layer.delta())
        assert convolution_delta.dtype == torch.float32
    assert torch.equal(layer.delta(), convolution_delta)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LowRankConv2d(nn.Conv2d(3, 8, 3), 2, 4), "rank: expected 1 to 3 for this layer, found 4"),
        (lambda: LowRankConv2d(nn.Conv2d(6, 6, 3, groups=6), 2, 2), "expected 1 to 1"),
        (lambda: LowRankConv2d(nn.Conv2d(3, 8, 3), 0, 2), "experts: expected at least 1, found 0"),
        (lambda: LowRankConv2d(nn.Conv2d(4, 8, (1, 3)), 2, 2), "square"),
        (lambda: LowRankLinear(nn.Linear(3, 8), 2, 4), "expected 1 to 3"),
    ],
)
def test_what_a_layer_cannot_be(make, message):
    with pytest.raises(BadInput, match=message):
        make()


def test_it_tells_what_it_is():
    text = repr(LowRankConv2d(nn.Conv2d(8, 8, 3, stride=2), 4, 2))
    assert "stride=(2, 2)" in text and "experts=4, rank=2, alpha=16, factorisation=loralib" in text


def test_adapter_parameters_are_what_a_and_b_are_made_of():
    layer, convolution = LowRankLinear(nn.Linear(4, 5), 3, 2), LowRankConv2d(nn.Conv2d(3, 4, 1), 3, 2)
    model = nn.Sequential(nn.Linear(4, 4), layer, convolution)
    assert adapter_parameters(model) == [layer.A, layer.B, convolution.A, convolution.B]
    assert adapter_parameters(layer) == [layer.A, layer.B]
    layer.A = nn.Parameter(layer.A[:1].detach().clone())
    parametrize.register_parametrization(layer, "A", nn.Identity())
    assert {id(p) for p in adapter_parameters(layer)} == {id(layer.B), id(layer.parametrizations.A.original)}


def test_the_layers_can_be_imported_from_the_package_and_from_their_first_path():
    assert mola.layers.LowRankConv2d is lowrank.LowRankConv2d is LowRankConv2d
    assert mola.layers.LowRankLinear is lowrank.LowRankLinear is LowRankLinear
    assert {"adapt", "export", "save_adapters"} <= set(dir(mola))
    with pytest.raises(AttributeError, match=r"module 'mola\.layers' has no attribute 'lowrnk'"):
        _ = mola.layers.lowrnk
