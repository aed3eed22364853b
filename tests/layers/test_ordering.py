"""A batch sorted by expert inside a model comes out in its order."""

import pytest
import torch
from networks import MIXED
from reference import filled
from torch import nn

import mola


def test_a_sorted_and_an_unsorted_index_gate_agree(layer):
    x, index = torch.randn(6, 4), torch.tensor([2, 0, 1, 2, 0, 0])
    with mola.gate(layer, index):
        expected = layer(x)
    order = index.argsort()
    with mola.gate(layer, index[order]):
        assert layer.slot.gate.order is None
        torch.testing.assert_close(layer(x[order]), expected[order])


def test_a_model_sorts_its_batch_once_and_puts_the_output_back(blocks):
    x = torch.randn(6, 4, dtype=torch.float64)
    inputs = []
    blocks.first.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    with mola.gate(blocks, MIXED):
        y = blocks(x)
        alone = blocks.block(x)  # past the model's entry the layers sort for themselves
        assert blocks.first.slot.unsorted is None
    assert torch.equal(inputs[0], x[MIXED.argsort(stable=True)])
    assert torch.equal(inputs[1], x)
    torch.testing.assert_close(y, alone)
    for row, expert in enumerate(MIXED):
        with mola.gate(blocks, expert[None]):
            torch.testing.assert_close(y[row], blocks(x[row : row + 1])[0])


def test_an_exception_inside_the_model_leaves_the_gate_as_it_was(blocks):
    x = torch.randn(6, 4, dtype=torch.float64)
    with mola.gate(blocks, MIXED):
        expected = blocks(x)
        handle = blocks.norm.register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            blocks(x)
        handle.remove()
        torch.testing.assert_close(blocks.block(x), expected)


def test_outputs_that_can_and_cannot_be_put_back(blocks):
    x = torch.randn(6, 4, dtype=torch.float64)
    with mola.gate(blocks, MIXED):
        expected = blocks(x)
        blocks.forward = lambda x: {"all": [blocks.block(x), blocks.block(x).sum()], "size": 6}
        actual = blocks(x)
        torch.testing.assert_close(actual["all"][0], expected)
        torch.testing.assert_close(actual["all"][1], expected.sum())
        assert actual["size"] == 6
        blocks.forward = lambda x: {blocks.block(x)}.__iter__()
        with pytest.raises(RuntimeError, match="can't put a set_iterator back into the batch's order"):
            blocks(x)


def test_a_model_of_several_tensors_is_refused_a_gate_that_fits_none_of_them(blocks):
    blocks.forward = lambda x, y: (pytest.fail("computed"), x)
    with mola.gate(blocks, MIXED), pytest.raises(ValueError, match="one entry per sample, found 6 for 5 or 2 samples"):
        blocks(torch.zeros(5, 4), torch.zeros(2, 4))
    blocks.forward = lambda x, y: blocks.block(x)
    with mola.gate(blocks, MIXED):
        assert blocks(torch.zeros(6, 4).double(), torch.zeros(2, 4)).shape == (6, 3)


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
