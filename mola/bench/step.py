"""Whole training steps of the MoLA methods against the plain one, and what their parts cost."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mola import registry
from mola.balancers.sum import Sum
from mola.bench.layers import filled
from mola.bench.measure import Work
from mola.bench.report import Entry
from mola.bench.workloads import Case, Setting
from mola.config import Training
from mola.layers.router import Router
from mola.losses import task_decorrelation
from mola.methods import Method
from mola.training.optim import make_optimizer
from mola.training.step import TrainingStep
from mola.types import Balancer, Batch, Task

CLASSES = 10
SMALL = {"router_width": 8, "router_blocks": 1, "router_pool": 4}  # a small router on a downsampled image
TWD_BATCH = 256


def entries(case: Case, setting: Setting, tasks: int) -> dict[str, Entry]:
    """The plain step (one backbone, a head per task), those of MoLA, and apart: the router's network and TwD.

    A step is forward, losses, backward and SGD with momentum, as the training loop does it.
    """
    torch.manual_seed(0)
    named = named_tasks(tasks)
    batch = random_batch(setting.images(case), named)
    adapters = {"where": case.where, "rank": case.rank}
    methods: dict[str, tuple[str, dict[str, Any]]] = {
        "plain step": ("shared", {}),
        "MoLA-Grad step": ("mola_grad", adapters),
        "MoLA-Router step": ("mola_router", adapters),
        "MoLA-Router step, small router": ("mola_router", {**adapters, **SMALL}),
    }
    found = {
        name: trained(
            registry.create("methods", method, named, lambda: case.plain(0), options=options),
            named,
            batch,
            setting,
            Sum.create(named, setting.on),
        )
        for name, (method, options) in methods.items()
    }
    small = Router(tasks, **{option.removeprefix("router_"): value for option, value in SMALL.items()})
    for name, network in {"router network": Router(tasks), "small router network": small}.items():
        setting.place(network)
        found[name] = Entry(_router(network, batch.x, setting), len(batch.x), network)
    scores = torch.randn(TWD_BATCH, tasks, device=setting.on, requires_grad=True)
    owner = torch.arange(TWD_BATCH) % tasks
    found[f"TwD, B = {TWD_BATCH}"] = Entry(
        lambda: torch.autograd.backward(task_decorrelation(scores, owner)), TWD_BATCH
    )
    return found


def named_tasks(tasks: int) -> list[Task]:
    """T classifications."""
    return [Task(f"task{i}", "classes", CLASSES, {"accuracy": "higher"}) for i in range(tasks)]


def random_batch(x: Tensor, tasks: list[Task]) -> Batch:
    """Images (B, 3, H, W) shared out among the tasks, with random labels."""
    task = torch.arange(len(x)) * len(tasks) // len(x)  # ordered by task, as benchmarks give them
    y = {t.name: torch.randint(CLASSES, (int((task == i).sum()),), device=x.device) for i, t in enumerate(tasks)}
    return Batch(x, task, y, tuple(t.name for t in tasks))


def trained(method: Method, tasks: list[Task], batch: Batch, setting: Setting, balancer: Balancer) -> Entry:
    """Steps of a method, as the training loop does them. What draws, draws the same in each: operations are counted on
    the steps that are timed.
    """
    method = setting.place(filled(method))
    optimizer = make_optimizer(Training(optimizer="sgd", lr=1e-3), [*method.parameters(), *balancer.parameters()])
    training_step = TrainingStep(method, balancer, optimizer, tasks, amp=setting.precision == "bf16")

    def step() -> None:
        torch.manual_seed(0)
        training_step(batch)

    return Entry(step, len(batch.x), method, states=1, holds=lambda: vars(balancer))


def _router(network: nn.Module, x: Tensor, setting: Setting) -> Work:
    def run() -> None:
        for parameter in network.parameters():
            parameter.grad = None
        with setting.running():
            scores = network(x)
        torch.autograd.backward(scores.float().sum())

    return run
