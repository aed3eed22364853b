"""Adapted models against the plain one: time, memory and operations of a forward and backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

import mola
from mola.bench.measure import Work
from mola.bench.report import Entry
from mola.bench.workloads import Case, Setting
from mola.layers.adapter import LowRank
from mola.types import Plan

M = TypeVar("M", bound=nn.Module)
Gate = Literal["grad", "router"]
EVERY: dict[Gate, tuple[Plan, ...]] = {
    "grad": ("grouped", "separate", "stacked", "merged"),
    "router": ("factored", "stacked", "merged"),
}


def entries(case: Case, setting: Setting, experts: Iterable[int], forced: bool) -> dict[str, Entry]:
    """The plain model, then each gate with each number of experts; ``forced``: with every plan, too.

    The indices of "grad" come unsorted; the weights of "router" are given, its network is not part of the work.
    """
    torch.manual_seed(0)
    x = setting.images(case)
    found = {"plain": _entry(setting.place(case.plain(10)), x, None, setting)}
    for number in experts:
        index = torch.arange(case.batch)[torch.randperm(case.batch)] % number
        weights = torch.randn(case.batch, number, device=setting.on).softmax(1).requires_grad_()
        gates: dict[Gate, Tensor] = {"grad": index, "router": weights}
        for gate, opened in gates.items():
            plans: tuple[Plan | Literal["auto"], ...] = ("auto", *(EVERY[gate] if forced else ()))
            for plan in plans:
                model = mola.adapt(case.plain(10), experts=number, rank=case.rank, where=case.where, plan=plan)
                name = f"{gate} E={number}" + f" {plan}" * (plan != "auto")
                found[name] = _entry(setting.place(filled(model)), x, opened, setting)
    return found


def filled(model: M) -> M:
    """The model with adapters that are not zero."""
    for layer in model.modules():
        if isinstance(layer, LowRank):
            nn.init.normal_(layer.B, std=0.01)
    return model


def _entry(model: nn.Module, x: Tensor, gate: Tensor | None, setting: Setting) -> Entry:
    forward = _forward(model, x, gate, setting)
    return Entry(
        _step(model, forward), len(x), model, forward=forward, again=lambda: torch.autograd.backward(forward().sum())
    )


def _forward(model: nn.Module, x: Tensor, gate: Tensor | None, setting: Setting) -> Callable[[], Tensor]:
    def run() -> Tensor:
        with setting.running():
            if gate is None:
                return model(x)  # type: ignore[no-any-return]
            with mola.gate(model, gate):
                return model(x)  # type: ignore[no-any-return]

    return run


def _step(model: nn.Module, forward: Callable[[], Tensor]) -> Work:
    def run() -> None:
        for parameter in model.parameters():
            parameter.grad = None
        torch.autograd.backward(forward().sum())

    return run
