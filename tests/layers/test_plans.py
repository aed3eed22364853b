"""Every plan computes the same: each is forced on layers that would choose another."""

import pytest
import torch
from reference import filled, output_by_samples
from torch import nn

import mola
from mola.layers import plans
from mola.layers.gates import checked
from mola.layers.lowrank import LowRankConv2d, LowRankLinear


def outcome(layer, x, gate):
    """The output, and the gradients of the input, W, bias, A and B under a fixed upstream gradient."""
    x = x.clone().requires_grad_()
    with mola.gate(layer, gate):
        y = layer(x)
    upstream = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    return [y, *torch.autograd.grad(y, [x, *layer.parameters()], upstream)]


LAYERS = {
    "3x3 strided": lambda: LowRankConv2d(nn.Conv2d(5, 8, 3, stride=2, padding=1), 4, 2),
    "1x1": lambda: LowRankConv2d(nn.Conv2d(5, 8, 1), 4, 2),
    "dilated": lambda: LowRankConv2d(nn.Conv2d(5, 8, 3, dilation=2, padding=2), 4, 2),
    "two_conv": lambda: LowRankConv2d(nn.Conv2d(5, 8, 3, padding=1), 4, 2, factorisation="two_conv"),
    "two_conv, one by three": lambda: LowRankConv2d(
        nn.Conv2d(5, 8, (1, 3), padding=(0, 1)), 4, 2, factorisation="two_conv"
    ),
    "same, even kernel": lambda: LowRankConv2d(nn.Conv2d(5, 8, 2, padding="same"), 4, 2),
    "valid": lambda: LowRankConv2d(nn.Conv2d(5, 8, 3, padding="valid"), 4, 2),
    "circular": lambda: LowRankConv2d(nn.Conv2d(5, 8, 3, padding=1, padding_mode="circular"), 4, 2),
    "linear": lambda: LowRankLinear(nn.Linear(5, 8), 4, 2),
}


@pytest.mark.parametrize("index", [[3, 0, 3, 1], [0, 1, 3, 3], [2, 2, 2, 2]], ids=["mixed", "sorted", "one expert"])
@pytest.mark.parametrize("name", LAYERS)
def test_separate_is_grouped(name, index, monkeypatch):
    layer = filled(LAYERS[name]().double())
    x = torch.randn(4, 7, 5) if name == "linear" else torch.randn(4, 5, 9, 7)
    taken = []
    outcomes = []
    for few in (True, False):
        monkeypatch.setattr(plans, "few_positions", lambda *_, few=few: taken.append(few) or few)
        outcomes.append(outcome(layer, x.double(), torch.tensor(index)))
    assert taken == [True, False]
    for one, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [2, 12])  # fewer and more positions than output channels: γ on the maps, γ on B
@pytest.mark.parametrize("factorisation", ["loralib", "two_conv"])
def test_factored_is_the_formula_wherever_the_weights_enter(size, factorisation):
    layer = filled(LowRankConv2d(nn.Conv2d(7, 8, 3, padding=1), 3, 2, factorisation=factorisation).double())
    x = torch.randn(4, 7, size, size, dtype=torch.float64)
    gate, weights = (torch.rand(4, 3, dtype=torch.float64).requires_grad_() for _ in range(2))
    weights.data.copy_(gate.data)
    with mola.gate(layer, gate):
        y = layer(x)
    wanted = output_by_samples(layer, x, weights)
    torch.testing.assert_close(y, wanted, rtol=1e-10, atol=1e-10)
    upstream = torch.randn_like(y)
    ours = torch.autograd.grad(y, [gate, *layer.parameters()], upstream)
    theirs = torch.autograd.grad(wanted, [weights, *layer.parameters()], upstream)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["one of many", "top two"])
def test_sparse_weights_are_exact(kind):
    """Experts with weight 0 contribute nothing, and one expert with weight 1 is LoRA."""
    layer = filled(LowRankConv2d(nn.Conv2d(5, 8, 3, padding=1), 1 if kind == "one of many" else 4, 2).double())
    x = torch.randn(3, 5, 6, 6, dtype=torch.float64)
    weights = torch.ones(3, 1).double() if kind == "one of many" else torch.rand(3, 4).double()
    if kind == "top two":
        kept = weights.topk(2).indices
        weights = torch.zeros_like(weights).scatter(1, kept, weights.gather(1, kept))
        assert ((weights > 0).sum(1) == 2).all()
    with mola.gate(layer, weights):
        torch.testing.assert_close(layer(x), output_by_samples(layer, x, weights), rtol=1e-10, atol=1e-10)


def test_the_choice():
    gate = checked(torch.tensor([0, 1, 2, 3] * 16), 4)
    assert gate.present == (0, 1, 2, 3)
    assert plans.few_positions(gate, outputs=256, positions=1)
    assert not plans.few_positions(gate, outputs=256, positions=64)
    assert not plans.few_positions(checked(torch.zeros(0, dtype=torch.int64), 4), outputs=256, positions=1)


def test_only_present_experts_are_merged():
    layer = filled(LowRankConv2d(nn.Conv2d(5, 8, 3), 6, 2).double())
    merged = layer.merged((1, 4))
    assert len(merged) == 2
    for weight, expert in zip(merged, (1, 4), strict=True):
        torch.testing.assert_close(weight, layer.weight + layer.delta()[expert])
