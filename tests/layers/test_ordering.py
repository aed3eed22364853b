"""The order of the samples: that of the batch for everything around the layers; sorted only where that is asked for."""

import pytest
import torch
from networks import MIXED
from reference import filled
from torch import nn

import mola
from mola.types import BadInput


def test_a_sorted_and_an_unsorted_index_gate_agree(layer):
    x, index = torch.randn(6, 4), torch.tensor([2, 0, 1, 2, 0, 0])
    with mola.gate(layer, index):
        expected = layer(x)
    order = index.argsort()
    with mola.gate(layer, index[order]):
        assert layer.slot.opened.gate.order is None
        torch.testing.assert_close(layer(x[order]), expected[order])


def test_the_model_and_its_hooks_see_the_batch_as_it_came(blocks):
    x, before, after = torch.randn(6, 4, dtype=torch.float64), [], []
    handles = [
        blocks.register_forward_pre_hook(lambda module, args: before.append(args[0])),
        blocks.first.register_forward_pre_hook(lambda module, args: before.append(args[0])),
        blocks.first.register_forward_hook(lambda module, args, y: after.append(y)),
    ]
    with mola.gate(blocks, MIXED):
        y = blocks(x)
    assert all(torch.equal(each, x) for each in before) and len(before) == 2
    for handle in handles:
        handle.remove()
    plain = [mola.export(blocks, expert) for expert in range(3)]
    for row, expert in enumerate(MIXED):
        torch.testing.assert_close(y[row], plain[expert](x[row : row + 1])[0])
        torch.testing.assert_close(after[0][row], plain[expert].first(x[row : row + 1])[0])


class Around(nn.Module):
    """What models do around their layers: similarities of samples, names beside them, outputs of other shapes."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, names=()):
        y = self.linear(x)
        return {
            "similarities": y @ y.T,
            "steps first": torch.stack([y, 2 * y]),
            "flat": y.flatten(),
            "named": dict(zip(names, y, strict=False)),
            "odd": {"a set of one"},
        }


def test_outputs_of_any_shape_and_lists_beside_the_tensors_are_the_plain_models():
    model = mola.adapt(Around(), experts=3, rank=2)
    filled(model.linear)
    x, names = torch.randn(6, 4), list("abcdef")
    with mola.gate(model, MIXED):
        actual = model(x, names)
    rows = torch.cat([mola.export(model, int(e)).linear(x[n : n + 1]) for n, e in enumerate(MIXED)])
    torch.testing.assert_close(actual["similarities"], rows @ rows.T)
    torch.testing.assert_close(actual["steps first"], torch.stack([rows, 2 * rows]))
    torch.testing.assert_close(actual["flat"], rows.flatten())
    for row, name in zip(rows, names, strict=True):
        torch.testing.assert_close(actual["named"][name], row)


def test_an_exception_inside_the_model_leaves_the_gate_as_it_was(blocks):
    x = torch.randn(6, 4, dtype=torch.float64)
    with mola.gate(blocks, MIXED):
        expected = blocks(x)
        handle = blocks.norm.register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            blocks(x)
        handle.remove()
        torch.testing.assert_close(blocks.block(x), expected)


def test_a_model_of_several_tensors_is_refused_a_gate_that_fits_none_of_them(blocks):
    blocks.forward = lambda x, y: (pytest.fail("computed"), x)
    with mola.gate(blocks, MIXED), pytest.raises(ValueError, match="one entry per sample, found 6 for 5 or 2 samples"):
        blocks(torch.zeros(5, 4), torch.zeros(2, 4))
    blocks.forward = lambda x, y: blocks.block(x)
    with mola.gate(blocks, MIXED):
        assert blocks(torch.zeros(6, 4).double(), torch.zeros(2, 4)).shape == (6, 3)


@pytest.mark.parametrize("steps", [4, 6, 9])
@pytest.mark.parametrize("kind", ["GRU", "attention"])
def test_sequences_first_are_refused_whatever_their_length(kind, steps):
    """Only where steps and samples are equally many could a layer take one for the other."""
    first = nn.GRU(4, 4) if kind == "GRU" else nn.MultiheadAttention(4, 2)
    model = nn.ModuleDict({"mix": first, "last": nn.Linear(4, 3)})
    model.forward = lambda x: model["last"](model["mix"](*([x] * (1 if kind == "GRU" else 3)))[0])
    mola.adapt(model, experts=3, rank=2, where="last")
    with mola.gate(model, MIXED), pytest.raises(BadInput, match="gate: "):
        model(torch.randn(steps, 6, 4))


def test_a_sorted_pass_is_the_gated_model_and_runs_on_sorted_rows(blocks):
    x, inputs = torch.randn(6, 4, dtype=torch.float64), []
    with mola.gate(blocks, MIXED):
        expected = blocks(x)
    blocks.first.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    torch.testing.assert_close(mola.sorted_pass(blocks, MIXED, x), expected)
    assert torch.equal(inputs[0], x[MIXED.argsort(stable=True)])


class Masked(nn.Module):
    """Takes a second tensor inside a dictionary, and plain values."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x, more=None, scale=1.0, output=lambda y: y):
        y = scale * self.linear(x)
        return output(y if more is None else y + more["mask"])


def test_all_of_a_batch_is_sorted_or_refused():
    model = mola.adapt(Masked(), experts=3, rank=2)
    filled(model.linear)
    x, mask = torch.randn(6, 4), torch.randn(6, 4)
    with mola.gate(model, MIXED):
        expected = model(x)
    torch.testing.assert_close(mola.sorted_pass(model, MIXED, x, {"mask": mask}, scale=1.0), expected + mask)
    nested = Masked()
    nested.linear = model.linear
    nested.forward = lambda x: {"rows": [2 * model.linear(x)], "sum": model.linear(x).sum(), "size": 6}
    actual = mola.sorted_pass(nested, MIXED, x)
    torch.testing.assert_close(actual["rows"][0], 2 * expected)
    torch.testing.assert_close(actual["sum"], expected.sum())
    refused = {
        r"every argument, found a ndarray": ((x, {"mask": mask.numpy()}), {}),
        r"every argument, found a list": ((x, {"names": list("abcdef")}), {}),
        r"6 samples of every argument, found \(5, 4\)": ((x, {"mask": mask[:5]}), {}),
    }
    for message, (args, kwargs) in refused.items():
        with pytest.raises(BadInput, match=message):
            mola.sorted_pass(model, MIXED, *args, **kwargs)
    for message, output in ((r"output, found \(24,\)", torch.flatten), (r"output, found a set", lambda y: {1})):
        nested.forward = lambda x, output=output: output(model.linear(x))
        with pytest.raises(BadInput, match=message):
            mola.sorted_pass(nested, MIXED, x)
    with pytest.raises(BadInput, match=r"a \(B,\) int64 tensor of expert indices"):
        mola.sorted_pass(model, torch.rand(6, 3), x)
