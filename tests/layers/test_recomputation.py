"""Activation checkpointing recomputes the layers with the gate of their forward pass."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from networks import MIXED, PLAN_NAMES, PLANS, Blocks, convolutions, gradients, live
from torch import nn
from torch.utils.checkpoint import checkpoint

import mola


@pytest.mark.parametrize("gate", [MIXED, torch.rand(6, 3).double()], ids=["index", "weights"])
def test_a_checkpoint_recomputes_with_the_gate_of_its_forward(blocks, gate):
    x = torch.randn(6, 4, dtype=torch.float64)
    with mola.gate(blocks, gate):
        expected = gradients(blocks, blocks(x))
        blocks.checkpointed = True
    with mola.gate(blocks, gate):
        for one, other in zip(gradients(blocks, blocks(x)), expected, strict=True):
            torch.testing.assert_close(one, other)
    with mola.gate(blocks, gate):
        y = blocks(x)
    other = torch.rand(6, 3).double()
    with mola.gate(blocks, other), torch.no_grad():
        blocks(x)  # an evaluation between changes nothing
    with mola.gate(blocks, other):  # nor does the gate that is open in backward
        for one, reference in zip(gradients(blocks, y), expected, strict=True):
            torch.testing.assert_close(one, reference)
    with mola.gate(blocks, other):
        assert not torch.allclose(gradients(blocks, blocks(x))[0], expected[0])
    with mola.gate(blocks, gate):  # an outer gate, and backward behind the inner one
        with mola.gate(blocks, other):
            blocks(x)
            y = blocks(x)
        actual = gradients(blocks, y)
    with mola.gate(blocks, other):
        for one, reference in zip(actual, gradients(blocks, blocks(x)), strict=True):
            torch.testing.assert_close(one, reference)


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

    def results_of(run):
        for tensor in asked:
            tensor.grad = None
        sum(run(x).square().sum() for x in inputs[: 1 if within else 2]).backward()
        return [tensor.grad for tensor in asked if tensor is not inputs[1] or not within]

    expected = results_of(model)
    assert all(gradient.abs().sum() > 0 for gradient in expected)
    model.within = within
    for one, other in zip(results_of(partial(checkpoint, model, use_reentrant=reentrant)), expected, strict=True):
        torch.testing.assert_close(one, other)


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

    def results_of(run, around=nullcontext):
        for tensor in asked:
            tensor.grad = None
        with mola.gate(model, gate):
            y = run(x)
        with around():
            y.square().sum().backward()
        return [y, *(tensor.grad for tensor in asked)]

    expected, run = results_of(model), model
    assert all(gradient is not None for gradient in expected)
    if extent == "network":
        run = partial(checkpoint, model, use_reentrant=reentrant)
    else:
        model[0].forward = partial(checkpoint, model[0].forward, use_reentrant=reentrant)
    for around in (nullcontext, lambda: mola.gate(model, MIXED.flip(0)), lambda: mola.gate(model, gate.detach())):
        for one, other in zip(results_of(run, around), expected, strict=True):
            torch.testing.assert_close(one, other)


def test_a_checkpoint_of_the_whole_network_that_cannot_know_its_gate_says_so():
    model = mola.adapt(nn.Sequential(nn.Linear(4, 3)), experts=3, rank=2)
    outputs = []
    for size in (6, 5):
        with mola.gate(model, MIXED[:size]):
            outputs.append(checkpoint(model, torch.randn(size, 4), use_reentrant=False))
    with pytest.raises(RuntimeError, match="can't tell which to recompute with"):
        outputs[0].sum().backward()
