"""A folder of a user's own: a suite, and methods, balancers, benchmarks and backbones beside it."""

from pathlib import Path

import yaml

BIAS = '''"""Hard sharing with a learnt bias per task.

Source: a test.
"""

from pydantic import Field, PositiveFloat

from methods._helper import zeros
from mola.methods.mola_grad import MoLAGrad
from mola.models.backbones import width
from mola.types import Output, Range


class TaskBias(MoLAGrad):
    class Options(MoLAGrad.Options):
        scale: PositiveFloat = Field(1.0, description="factor of the biases")

    search_space = {"scale": Range(0.5, 2.0)}

    def __init__(self, tasks, backbone, options):
        super().__init__(tasks, backbone, options)
        self.bias = zeros(len(tasks), width(self.backbone))
        self.scale = options.scale

    def forward(self, batch):
        output = super().forward(batch)
        shifted = output.features + self.scale * self.bias[batch.task]
        return Output(self.heads(shifted, batch), features=output.features)
'''
HELPER = """import torch


def zeros(*shape):
    return torch.nn.Parameter(torch.zeros(shape))
"""
BALANCER = '''"""Twice the sum.

Source: a test.
"""

from mola.balancers.sum import Sum


class Twice(Sum):
    def total(self, losses):
        return 2 * super().total(losses)
'''
NET = """import torch
from torch import nn

from layers_of_mine import convolution


class Net(nn.Module):
    def __init__(self, width, pooled):
        super().__init__()
        self.layer1 = convolution(3, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer2 = convolution(width, 2 * width)
        self.pooled = pooled

    def forward(self, x):
        y = self.layer2(self.bn1(self.layer1(x)).relu()).relu()
        return y.mean((2, 3)) if self.pooled else y


def make_model(width=6, pooled=False):
    return Net(width, pooled)
"""
LAYERS = """from torch import nn


def convolution(into, out):
    return nn.Conv2d(into, out, 3, stride=2)
"""
FILES = {
    "methods/task_bias.py": BIAS,
    "methods/_helper.py": HELPER,
    "balancers/twice.py": BALANCER,
    "my_net.py": NET,
    "layers_of_mine.py": LAYERS,
}


def fill(folder: Path, **files: str) -> Path:
    """The files of above in a folder, and others, by path without .py, with __ for /."""
    for name, text in {**FILES, **{f"{key.replace('__', '/')}.py": text for key, text in files.items()}}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def suite(folder: Path, data: Path, **changes: object) -> Path:
    """A suite in the folder, on a few digits; keyword arguments replace top-level keys."""
    content = {
        "suite": "mine",
        "results": str(folder / "results"),
        "data": str(data),
        "device": "cpu",
        "seeds": [0],
        "reference": None,
        "benchmarks": {"digits": {"limit": 16}},
        "training": {"epochs": 1, "batch_size": 16, "lr": 0.002},
        "backbone": {"name": "test_resnet"},
        "shared_options": {"where": r"layer[1-4]\..*conv\d", "rank": 2},
        "methods": {"shared": None, "task_bias": {"scale": 2.0}, "twice": {"method": "shared", "balancer": "twice"}},
    }
    path = folder / "my.yaml"
    path.write_text(yaml.safe_dump({**content, **changes}, sort_keys=False))
    return path
