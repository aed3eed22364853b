"""What the tests of cached features share: a small backbone with weights in a file, and runs on digits."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from mola.models.backbones import builder
from mola.sections import Settings
from mola.training.build import build

OPTIONS = {"channels": [16, 32, 64, 128], "stem_width": 8}
STAGES = 2
CPU = torch.device("cpu")


def write_weights(path: Path) -> Path:
    """Random weights as after training: timm's last BatchNorm of a block starts at 0, which would hide the block."""
    torch.manual_seed(7)
    backbone = builder("resnet10t", OPTIONS)()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    torch.save(backbone.state_dict(), path)
    return path


def section(weights: Path, views: int | None = None, **changes) -> dict:
    """The backbone section of a suite."""
    keys = {"name": "resnet10t", "options": OPTIONS, "weights": str(weights), "freeze_stages": STAGES}
    return keys | ({"cached_views": views} if views else {}) | changes


def built(settings: Settings, root: Path, seed: int = 0):
    """(benchmark, method, balancer), the method's adapters and gates live from the start."""
    benchmark, method, balancer = build(settings, root, seed, CPU)
    torch.manual_seed(seed)
    for parameter in method.parameters():
        if parameter.requires_grad and (parameter == 0).all():
            nn.init.normal_(parameter, std=0.1)
    return benchmark, method, balancer
