"""Adapted models against the plain one: time, memory and operations of a forward and backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

import mola
from mola.bench.report import Entry
from mola.bench.workloads import Setting, Workload
from mola.layers.adapter import LowRank, adapted_layers
from mola.layers.gate_kinds import Gate as Opened
from mola.layers.gate_kinds import as_gate
from mola.layers.plans import dispatch, fused
from mola.registry import did_you_mean
from mola.types import BadInput, Factorisation, Plan

M = TypeVar("M", bound=nn.Module)
# "sorted": grad's indices in ascending order, as the loader gives them; "top2": the router's weights but for the two
# largest; "two_conv": the router's, on PEFT's factorisation
Gate = Literal["grad", "sorted", "router", "top2", "two_conv"]
GATES: tuple[Gate, ...] = get_args(Gate)
DEFAULT: tuple[Gate, ...] = ("grad", "sorted", "router")
# "fused" is added where it runs on a GPU; those of "sorted" are grad's
WEIGHTED: tuple[Plan, ...] = ("factored", "stacked", "merged")
PLANS: dict[Gate, tuple[Plan, ...]] = {
    "grad": ("grouped", "separate", "stacked", "merged"),
    "sorted": (),
    **dict.fromkeys(GATES[2:], WEIGHTED),
}


def entries(
    workload: Workload,
    setting: Setting,
    experts: Iterable[int],
    every_plan: bool,
    gates: Sequence[str] = DEFAULT,
) -> dict[str, Entry]:
    """The plain model, then each gate with each number of experts; ``every_plan``: with every plan forced, too. "fused"
    is forced on a GPU alone, and there on the layers that take it, if any; the others choose.

    The indices of "grad" come unsorted; the weights of the others are given, the router's network is not part of the
    work. Raises BadInput.
    """
    torch.manual_seed(0)
    x = setting.images(workload)
    works = {"plain": _entry(setting.place(workload.plain(10)), x, None, setting)}
    for number in experts:
        index = torch.arange(workload.batch)[torch.randperm(workload.batch)] % number
        weights = torch.randn(workload.batch, number, device=setting.on).softmax(1).requires_grad_()
        for name in _checked(gates, number):
            opened = {"grad": index, "sorted": index.sort().values, "top2": _largest_two(weights)}.get(name, weights)
            factorisation: Factorisation = "two_conv" if name == "two_conv" else "loralib"
            plans: tuple[Plan | Literal["auto"], ...] = ("auto", *(_plans(name, setting.on) if every_plan else ()))
            for plan in plans:
                forced: Plan | Literal["auto"] = "auto" if plan == "fused" else plan
                model = mola.adapt(
                    workload.plain(10), experts=number, plan=forced, factorisation=factorisation, **workload.adapters
                )
                model = setting.place(with_random_adapters(model))
                if plan == "fused" and not force_fused(model, as_gate(opened, number, setting.on)):
                    continue
                row = f"{name} E={number}" + f" {plan}" * (plan != "auto")
                works[row] = _entry(model, x, opened, setting)
    return works


def _plans(name: Gate, device: torch.device) -> tuple[Plan, ...]:
    """Those that are timed for a gate; the time of an interpreted kernel would say nothing."""
    timed = PLANS[name] is WEIGHTED and device.type == "cuda" and fused.unavailable(device) is None
    return (*PLANS[name], "fused") if timed else PLANS[name]


def force_fused(model: nn.Module, gate: Opened) -> bool:
    """Have the plan "fused" run in the layers that take it under such a gate; whether there are any."""
    layers = [layer for layer in adapted_layers(model).values() if "fused" in dispatch.applicable(layer, gate)]
    for layer in layers:
        layer.plan = "fused"
    return bool(layers)


def _largest_two(weights: Tensor) -> tuple[Tensor, Tensor]:
    """A leaf of the graph, as it is part of no step, and the experts' indices; both (B, 2)."""
    values, indices = weights.detach().topk(min(2, weights.shape[1]))
    return values.requires_grad_(), indices


def _checked(gates: Sequence[str], experts: int) -> list[Gate]:
    for gate in gates:
        if gate not in GATES:
            raise BadInput(f"--gate: expected {', '.join(GATES)} or all, found '{gate}'{did_you_mean(gate, GATES)}")
        if gate == "top2" and experts < 2:
            raise BadInput(f"--gate: expected at least 2 experts for top2, found -e {experts}")
    return [gate for gate in GATES if gate in gates]


def with_random_adapters(model: M) -> M:
    """The model with adapters that are not zero, as they are after some training."""
    for layer in model.modules():
        if isinstance(layer, LowRank):
            nn.init.normal_(layer.B, std=0.01)
    return model


def _entry(model: nn.Module, x: Tensor, gate: Any, setting: Setting) -> Entry:
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
