"""Adapted models under torch.compile."""

import pytest
import torch
from networks import MIXED, convolutions, gradients, live
from reference import filled
from torch import nn

import mola
from mola.layers.adapter import LowRankLinear


@pytest.mark.parametrize(
    "gate", [MIXED, MIXED.sort().values, torch.rand(6, 3).double()], ids=["mixed", "sorted", "weights"]
)
def test_compiled_in_one_piece(blocks, gate):
    x = torch.randn(6, 4, dtype=torch.float64)
    compiled = torch.compile(blocks, backend="aot_eager", fullgraph=True)
    with mola.gate(blocks, gate):
        y, expected = compiled(x), blocks(x)
        torch.testing.assert_close(y, expected)
        for one, other in zip(gradients(blocks, y), gradients(blocks, expected), strict=True):
            torch.testing.assert_close(one, other)


class Routed(nn.Module):
    """Opens the gate in its own forward."""

    def __init__(self, plan="auto"):
        super().__init__()
        self.scores = nn.Linear(4, 3)
        self.blocks = mola.adapt(convolutions(), experts=3, rank=2, plan=plan)

    def forward(self, x):
        with mola.gate(self.blocks, self.scores(x.mean((2, 3))).softmax(1)):
            return self.blocks(x)


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
        y, expected = torch.compile(model, backend="aot_eager", fullgraph=True)(x), model(x)
    torch.testing.assert_close(y, expected)
    for one, other in zip(gradients(model, y), gradients(model, expected), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("plan", ["auto", "merged"])
def test_a_model_that_routes_compiles_in_one_piece(plan):
    model = live(Routed(plan))
    x = torch.randn(6, 4, 9, 9, dtype=torch.float64)
    y, expected = torch.compile(model, backend="aot_eager", fullgraph=True)(x), model(x)
    torch.testing.assert_close(y, expected)
    for one, other in zip(gradients(model, y), gradients(model, expected), strict=True):
        torch.testing.assert_close(one, other)


def test_a_graph_has_the_plans_operations():
    """Not the formula as it is written, which is for torch.func's transforms: a full product per expert."""
    layer = filled(LowRankLinear(nn.Linear(4, 5), 3, 2))
    graphs = []
    compiled = torch.compile(layer, backend=lambda graph, _: graphs.append(graph) or graph, fullgraph=True)
    x, gate = torch.randn(6, 4), torch.rand(6, 3)
    with mola.gate(layer, gate), torch.no_grad():
        torch.testing.assert_close(compiled(x), layer(x), rtol=0, atol=0)
    targets = [str(node.target) for node in graphs[0].graph.nodes]
    # W x and A x; B (γ ⊙ A x) is added in place
    assert sum("linear" in target for target in targets) == 2 and targets.count("addmm_") == 1
