"""How a tensor, or a pair of tensors, is read as a gate."""

import pytest
import torch
from networks import MIXED
from torch import nn

import mola
from mola.layers import gates


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
                assert layer.slot.opened.gate.experts.tolist() == [0, 2]
                assert layer.slot.opened.gate.weights.shape == (6, 2)
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


def test_a_gate_is_read_once_and_an_index_gate_builds_nothing_dense(monkeypatch):
    calls = []
    as_gate = gates.as_gate
    monkeypatch.setattr(gates, "as_gate", lambda *args: calls.append(args) or as_gate(*args))
    model = mola.adapt(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), experts=3, rank=1)
    with mola.gate(model, MIXED):
        model(torch.randn(6, 4))
        gate = model[0].slot.opened.gate
    assert len(calls) == 1
    assert all(v.dim() == 1 for v in vars(gate).values() if isinstance(v, torch.Tensor))
