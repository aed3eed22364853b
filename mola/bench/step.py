"""Whole training steps of the MoLA methods against the plain one, and what their parts cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mola import registry
from mola.balancers.sum import Sum
from mola.bench.layers import with_random_adapters
from mola.bench.report import Entry
from mola.bench.workloads import Setting, Workload
from mola.layers.router import Router
from mola.losses import task_decorrelation
from mola.methods import Method
from mola.sections import Training
from mola.training.optim import make_optimizer
from mola.training.step import TrainingStep
from mola.types import Balancer, Batch, Task

CLASSES = 10
# a small router on a downsampled image
SMALL = {"router_width": 8, "router_blocks": 1, "router_pool": 4}
TWD_BATCH = 256


def entries(workload: Workload, setting: Setting, number: int) -> dict[str, Entry]:
    """The plain step (one backbone, a head for each of ``number`` tasks), those of MoLA, and apart: the router's
    network and TwD. A step is forward, losses, backward and SGD with momentum, as training does it.
    """
    torch.manual_seed(0)
    tasks = classifications(number)
    batch = random_batch(setting.images(workload), tasks)
    methods: dict[str, tuple[str, dict[str, Any]]] = {
        "plain step": ("shared", {}),
        "MoLA-Grad step": ("mola_grad", workload.adapters),
        "MoLA-Router step": ("mola_router", workload.adapters),
        "MoLA-Router step, small router": ("mola_router", workload.adapters | SMALL),
    }
    works = {
        row: step_entry(
            create_method(name, tasks, workload, options), tasks, batch, setting, Sum.create(tasks, setting.on)
        )
        for row, (name, options) in methods.items()
    }
    small = Router(number, **{option.removeprefix("router_"): value for option, value in SMALL.items()})
    for row, network in {"router network": Router(number), "small router network": small}.items():
        works[row] = _router_entry(setting.place(network), batch.x, setting)
    scores = torch.randn(TWD_BATCH, number, device=setting.on, requires_grad=True)
    task = torch.arange(TWD_BATCH) % number
    works[f"TwD, B = {TWD_BATCH}"] = Entry(lambda: torch.autograd.backward(task_decorrelation(scores, task)), TWD_BATCH)
    return works


def classifications(number: int) -> list[Task]:
    """So many tasks."""
    return [Task(f"task{i}", "classes", CLASSES, ("accuracy",)) for i in range(number)]


def random_batch(x: Tensor, tasks: list[Task]) -> Batch:
    """Images (B, 3, H, W) shared out among the tasks, with random labels."""
    # ordered by task, as benchmarks give them
    task = torch.arange(len(x)) * len(tasks) // len(x)
    y = {t.name: torch.randint(CLASSES, (int((task == i).sum()),), device=x.device) for i, t in enumerate(tasks)}
    return Batch(x, task, y, tuple(t.name for t in tasks))


def create_method(name: str, tasks: list[Task], workload: Workload, options: Mapping[str, object]) -> Method:
    """A registered method on the workload's model."""
    method: Method = registry.create("methods", name, tasks, lambda: workload.plain(0), options=options)
    return method


def step_entry(method: Method, tasks: list[Task], batch: Batch, setting: Setting, balancer: Balancer) -> Entry:
    """Training steps of a method. What draws, draws the same in each: operations are counted on the steps that are
    timed.
    """
    method = setting.place(with_random_adapters(method))
    optimizer = make_optimizer(Training(optimizer="sgd", lr=1e-3), [*method.parameters(), *balancer.parameters()])
    training_step = TrainingStep(method, balancer, optimizer, tasks, amp=setting.precision == "bf16")

    def step() -> None:
        torch.manual_seed(0)
        training_step(batch)

    return Entry(step, len(batch.x), method, optimizer_states=1, state=lambda: vars(balancer))


def _router_entry(network: nn.Module, x: Tensor, setting: Setting) -> Entry:
    def step() -> None:
        network.zero_grad(set_to_none=True)
        with setting.running():
            scores = network(x)
        torch.autograd.backward(scores.float().sum())

    return Entry(step, len(x), network)
