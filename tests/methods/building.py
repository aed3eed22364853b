"""A method on a small backbone whose residual branches are live from the start."""

import torch

from mola import registry
from mola.metrics.kinds import KINDS
from mola.models.backbones import builder
from mola.types import Batch, Task

TASKS = tuple(Task(name, "classes", 3, {"accuracy": "higher"}) for name in ("a", "b", "c"))
OPTIONS = {"where": r"layer[1-4]\..*conv\d", "router_width": 4, "branches": 2, "warmup": 0}


def build(name, tasks, seed=0, **changes):
    known = registry.option_names("methods", name)
    options = {k: v for k, v in (OPTIONS | changes).items() if k in known}
    torch.manual_seed(seed)
    dense = any(KINDS[task.kind].dense for task in tasks)
    stride = {"output_stride": 8} if dense else {}
    backbone = builder("test_resnet", {"zero_init_last": False} | stride, dense=dense, head_width=8)
    return registry.load("methods", name).create(tasks, backbone, **options)


def batch_of_mixed_tasks():
    """Three images of each of TASKS, in no order."""
    generator = torch.Generator().manual_seed(3)
    task = torch.tensor([0, 1, 2, 1, 0, 2, 0, 1, 2])
    y = {name: torch.zeros(3, dtype=torch.int64) for name in ("a", "b", "c")}
    return Batch(torch.randn(9, 3, 32, 32, generator=generator), task, y, tuple(y))
