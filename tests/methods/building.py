"""A method on a small backbone whose residual branches are live from the start."""

import torch

from mola import registry
from mola.models.backbones import builder

OPTIONS = {"where": r"layer[1-4]\..*conv\d", "router_width": 4, "branches": 2, "warmup": 0}


def build(name, tasks, seed=0, **changes):
    known = registry.option_names("methods", name)
    options = {k: v for k, v in (OPTIONS | changes).items() if k in known}
    torch.manual_seed(seed)
    dense = any(task.kind != "classes" for task in tasks)
    stride = {"output_stride": 8} if dense else {}
    backbone = builder("test_resnet", {"zero_init_last": False} | stride, dense=dense, head_width=8)
    return registry.load("methods", name).create(tasks, backbone, **options)
