"""Adapted models against the plain one: time, memory and operations of a forward and backward pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

import mola
from mola.bench.report import Entry
from mola.bench.workloads import Setting, Workload
from mola.layers.adapter import LowRank
from mola.types import Plan

M = TypeVar("M", bound=nn.Module)
Gate = Literal["grad", "router"]
PLANS: dict[Gate, tuple[Plan, ...]] = {
    "grad": ("grouped", "separate", "stacked", "merged"),
    "router": ("factored", "stacked", "merged"),
}


def entries(workload: Workload, setting: Setting, experts: Iterable[int], every_plan: bool) -> dict[str, Entry]:
    """The plain model, then each gate with each number of experts; ``every_plan``: with every plan forced, too.

    The indices of "grad" come unsorted; the weights of "router" are given, its network is not part of the work.
    """
    torch.manual_seed(0)
    x = setting.images(workload)
    works = {"plain": _entry(setting.place(workload.plain(10)), x, None, setting)}
    for number in experts:
        index = torch.arange(workload.batch)[torch.randperm(workload.batch)] % number
        weights = torch.randn(workload.batch, number, device=setting.on).softmax(1).requires_grad_()
        gates: dict[Gate, Tensor] = {"grad": index, "router": weights}
        for name, gate in gates.items():
            plans: tuple[Plan | Literal["auto"], ...] = ("auto", *(PLANS[name] if every_plan else ()))
            for plan in plans:
                model = mola.adapt(workload.plain(10), experts=number, plan=plan, **workload.adapters)
                row = f"{name} E={number}" + f" {plan}" * (plan != "auto")
                works[row] = _entry(setting.place(with_random_adapters(model)), x, gate, setting)
    return works


def with_random_adapters(model: M) -> M:
    """The model with adapters that are not zero, as they are after some training."""
    for layer in model.modules():
        if isinstance(layer, LowRank):
            nn.init.normal_(layer.B, std=0.01)
    return model


def _entry(model: nn.Module, x: Tensor, gate: Tensor | None, setting: Setting) -> Entry:
    def forward() -> Tensor:
        with setting.running():
            if gate is None:
                return model(x)  # type: ignore[no-any-return]
            with mola.gate(model, gate):
                return model(x)  # type: ignore[no-any-return]

    def accumulate() -> None:
        torch.autograd.backward(forward().sum())

    def step() -> None:
        model.zero_grad(set_to_none=True)
        accumulate()

    return Entry(step, len(x), model, forward=forward, accumulate=accumulate)
