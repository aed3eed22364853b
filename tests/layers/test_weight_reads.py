"""Reads of a weight past its layer, found in source: in helpers, around, in loops; and what is none."""

import pytest
import torch.nn.functional as F
from torch import nn

import mola
from mola.layers.weight_reads import reader_of
from mola.types import BadInput


def helper(layer, x):
    return F.linear(x, layer.weight)


def named_helper(x, *, of):
    return helper(of, x)


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.ModuleDict({"fc": nn.Linear(4, 4)})
        self.layers = nn.ModuleList([nn.Linear(4, 4)])
        self.fc = nn.Linear(4, 4)


class Direct(Base):
    def forward(self, x):
        return F.linear(x, self.fc.weight)


class Helped(Base):
    def forward(self, x):
        return helper(self.fc, x)


class HelpedByName(Base):
    def forward(self, x):
        return named_helper(x, of=self.fc)


class Method(Base):
    def forward(self, x):
        return self.step(x, self.fc)

    def step(self, x, layer):
        return x @ layer.weight.t()


class Variable(Base):
    def forward(self, x):
        layer = self.fc
        weight = layer.weight
        return x @ weight


class Loop(Base):
    def forward(self, x):
        for layer in self.layers:
            x = F.linear(x, layer.weight)
        return x


class Grandparent(Base):
    def forward(self, x):
        return F.linear(x, self.inner.fc.weight)


class Element(Base):
    def forward(self, x):
        return F.linear(x, self.layers[0].weight)


class Harmless(Base):
    """Calls the layer, asks for its type, and reads weights elsewhere than in forward."""

    def forward(self, x):
        return self.other(self.fc(x.to(self.fc.weight.dtype).to(self.fc.weight.device)))

    def other(self, x):
        return self.layers[0](x) if self.layers[0].weight.shape[0] else x

    def initialise(self):
        nn.init.zeros_(self.fc.weight)


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        (Direct, "fc"),
        (Helped, "fc"),
        (HelpedByName, "fc"),
        (Method, "fc"),
        (Variable, "fc"),
        (Loop, "layers.0"),
        (Grandparent, "inner.fc"),
        (Element, "layers.0"),
    ],
)
@pytest.mark.parametrize("depth", [0, 1])
def test_reads_are_refused_wherever_they_stand(kind, layer, depth):
    model, name = (kind(), layer) if not depth else (nn.Sequential(kind()), f"0.{layer}")
    with pytest.raises(BadInput, match=f"layer '{name}' can't be adapted: {kind.__name__} reads its weight past"):
        mola.adapt(model, experts=2, rank=1, where=name.replace(".", r"\."))
    others = {"fc", "layers.0", "inner.fc"} - {layer}
    assert all(reader_of(model, f"0.{other}" if depth else other) is None for other in others)


def test_calls_and_types_are_no_reads():
    model = Harmless()
    assert all(reader_of(model, name) is None for name in ("fc", "layers.0", "inner.fc"))
    mola.adapt(model, experts=2, rank=1)
