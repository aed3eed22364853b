"""A layer and a network with adapters that are not zero."""

import pytest
import torch
from networks import Blocks
from reference import filled
from torch import nn

import mola
from mola.layers.adapter import LowRankLinear


@pytest.fixture
def layer():
    return filled(LowRankLinear(nn.Linear(4, 5), 3, 2))


@pytest.fixture
def x():
    return torch.randn(2, 4)


@pytest.fixture
def blocks():
    model = mola.adapt(Blocks().double(), experts=3, rank=2)
    filled(model.first)
    filled(model.last)
    return model.eval()
