"""Networks to adapt, and gates for batches of six samples and three experts."""

import timm
import torch
from reference import filled
from torch import nn
from torch.utils.checkpoint import checkpoint

import mola
from mola.layers.adapter import LowRank, LowRankConv2d

MIXED = torch.tensor([2, 0, 1, 2, 0, 0])


class Blocks(nn.Module):
    """Two adapted layers with a BatchNorm between; checkpointed on request."""

    def __init__(self, checkpointed=False):
        super().__init__()
        self.checkpointed = checkpointed
        self.first, self.norm, self.last = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)

    def block(self, x):
        return self.last(self.norm(self.first(x)))

    def forward(self, x):
        return checkpoint(self.block, x, use_reentrant=False) if self.checkpointed else self.block(x)


def gradients(model, y):
    return torch.autograd.grad(y.square().sum(), list(model.parameters()))


def convolutions():
    """A small network: strided, with BatchNorm, with groups, 1×1."""
    first = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU())
    return nn.Sequential(first, nn.Conv2d(6, 6, 3, groups=2, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 1))


def live(model):
    """In fp64, with adapters that are not zero."""
    for layer in model.double().modules():
        if isinstance(layer, LowRankConv2d):
            filled(layer)
    return model


PLANS = [(MIXED, "auto"), (MIXED, "stacked"), (MIXED, "merged"), (MIXED.sort().values, "auto")]
PLANS += [(torch.rand(6, 3).double(), plan) for plan in ("auto", "stacked", "merged")]
PLAN_NAMES = [f"{'weights' if gate.is_floating_point() else 'index'}-{plan}" for gate, plan in PLANS]


MODELS = {
    "resnet18": (
        lambda: timm.create_model("resnet18", num_classes=5, zero_init_last=False),
        r"layer[34]\..*conv\d",
        40,
    ),
    "vit": (
        lambda: timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=32, depth=2),
        r"blocks\..*(qkv|proj|fc1|fc2)",
        32,
    ),
    "padded by size": (
        lambda: timm.create_model("tf_efficientnet_lite0", num_classes=5),
        r"blocks\.[12]\..*conv_(dw|pwl?)",
        40,
    ),
}


def adapted(name, seed=0, **how):
    torch.manual_seed(seed)
    make, where, size = MODELS[name]
    rank = {r".*conv_dw": 1, r".*": 2}
    model = mola.adapt(make().double(), experts=3, **{"rank": rank, "where": where, **how}).eval()
    for layer in model.modules():
        if isinstance(layer, LowRank):
            filled(layer)
    return model, torch.randn(2, 3, size, size, dtype=torch.float64)


def run_expert(model, x, expert):
    with mola.gate(model, torch.full((len(x),), expert)), torch.no_grad():
        return model(x)
