"""Adapted models against the plain one: time, memory and operations of a forward and backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

import mola
from mola.bench.measure import Work, flops, interleaved, peak_bytes, ratios, wall_ratio
from mola.layers.life import parameter_counts
from mola.layers.lowrank import LowRank
from mola.types import BadInput, Plan, Rank

Gate = Literal["grad", "router"]


@dataclass(frozen=True)
class Case:
    """A timm model with adapters, and a batch. options: of timm's constructor."""

    model: str
    batch: int
    size: int
    where: str
    rank: Rank
    options: tuple[tuple[str, Any], ...] = ()

    def plain(self, device: torch.device) -> nn.Module:
        """The model without adapters."""
        import timm

        model: nn.Module = timm.create_model(self.model, num_classes=10, **dict(self.options))
        return model.to(device)


STAGES, BY_STAGE = r"layer[2-4]\..*conv\d", {r"layer4\..*": 8, r".*": 4}
LIVE = (("zero_init_last", False),)  # timm starts residual branches at 0: then the adapters in them had nothing to do
CASES = {
    "resnet50": Case("resnet50", 32, 64, STAGES, BY_STAGE, LIVE),
    "resnet18": Case("resnet18", 32, 64, STAGES, BY_STAGE, LIVE),
    "vit_small": Case("vit_small_patch16_224", 8, 224, r"blocks\..*(qkv|proj|fc1|fc2)", 8),
}


@dataclass(frozen=True)
class Row:
    """One line of the table; ratios against the plain model in the same run.

    time, lowest, highest: median and range of the busy time, forward and backward; wall, forward: medians.
    memory: peak of parameters, gradients and activations; working: without parameters and gradients.
    """

    gate: str
    plan: str
    experts: int
    time: float
    lowest: float
    highest: float
    wall: float
    forward: float
    flops: float
    memory: float
    working: float


def compare(
    case: str, experts: Iterable[int], plans: Iterable[tuple[Gate, Plan | Literal["auto"]]], repeats: int, device: str
) -> list[Row]:
    """Each gate with each plan and number of experts. The indices of "grad" come unsorted. Raises BadInput."""
    if case not in CASES:
        raise BadInput(f"--model: expected {', '.join(CASES)}, found '{case}'")
    if device != "cpu" and not (device == "cuda" and torch.cuda.is_available()):
        raise BadInput(f"--device: expected cpu{', or cuda' * torch.cuda.is_available()}, found '{device}'")
    chosen, on = CASES[case], torch.device(device)
    torch.manual_seed(0)
    x = torch.randn(chosen.batch, 3, chosen.size, chosen.size, device=on)
    plain = chosen.plain(on)
    both, forwards, models = {"plain": _step(plain, x, None)}, {"plain": _forward(plain, x, None)}, {"plain": plain}
    keys = [(gate, plan, number) for number in experts for gate, plan in plans]
    for key in keys:
        gate, plan, number = key
        model = _adapted(chosen, number, plan, on)
        weights = torch.randn(chosen.batch, number, device=on).softmax(1).requires_grad_()
        index = torch.arange(chosen.batch)[torch.randperm(chosen.batch)] % number
        opened = index if gate == "grad" else weights
        name = str(key)
        both[name], forwards[name], models[name] = _step(model, x, opened), _forward(model, x, opened), model
    times, fronts = interleaved(both, repeats, on), interleaved(forwards, repeats, on)
    working, whole = {}, {}
    for name, work in both.items():
        for model in models.values():
            model.zero_grad(set_to_none=True)
        peak = peak_bytes(work, on)
        parameters = sum(p.numel() * p.element_size() for p in models[name].parameters())
        whole[name], working[name] = peak + parameters, _working(models[name], forwards[name], on)
    rows = []
    for key in keys:
        name = str(key)
        low_high = ratios(times[name], times["plain"])
        rows.append(
            Row(
                *key,
                *low_high,
                wall_ratio(times[name], times["plain"]),
                ratios(fronts[name], fronts["plain"])[0],
                flops(both[name]) / flops(both["plain"]),
                whole[name] / whole["plain"],
                working[name] / working["plain"],
            )
        )
    return rows


def table(rows: list[Row]) -> str:
    """The rows as text."""
    lines = ["gate    plan      E   fwd+bwd (lowest–highest)  wall   fwd    FLOPs  memory  without parameters"]
    for r in rows:
        spread = f"{r.time:5.2f} ({r.lowest:.2f}–{r.highest:.2f})"
        numbers = f"{r.wall:5.2f}  {r.forward:5.2f}  {r.flops:5.2f}  {r.memory:6.2f}  {r.working:6.2f}"
        lines.append(f"{r.gate:7s} {r.plan:9s} {r.experts:<3d} {spread:24s}  {numbers}")
    return "\n".join(lines)


def as_json(case: str, rows: list[Row], repeats: int, device: str) -> dict[str, Any]:
    """The rows with what they were measured on."""
    import platform

    import timm

    what = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    machine = {"device": what, "threads": torch.get_num_threads(), "python": platform.python_version()}
    versions = {"torch": torch.__version__, "timm": timm.__version__}
    return {
        "case": asdict(CASES[case]),
        "repeats": repeats,
        **machine,
        **versions,
        "rows": [asdict(row) for row in rows],
    }


def _adapted(case: Case, experts: int, plan: Plan | Literal["auto"], device: torch.device) -> nn.Module:
    model = mola.adapt(case.plain(device), experts=experts, rank=case.rank, where=case.where, plan=plan)
    for layer in model.modules():
        if isinstance(layer, LowRank):
            nn.init.normal_(layer.B, std=0.01)
    assert parameter_counts(model).experts == experts
    return model


def _forward(model: nn.Module, x: Tensor, gate: Tensor | None) -> Callable[[], Tensor]:
    def run() -> Tensor:
        if gate is None:
            return model(x)  # type: ignore[no-any-return]
        with mola.gate(model, gate):
            return model(x)  # type: ignore[no-any-return]

    return run


def _step(model: nn.Module, x: Tensor, gate: Tensor | None) -> Work:
    forward = _forward(model, x, gate)

    def run() -> None:
        for parameter in model.parameters():
            parameter.grad = None
        torch.autograd.backward(forward().sum())

    return run


def _working(model: nn.Module, forward: Callable[[], Tensor], device: torch.device) -> int:
    """The peak of a step that finds its gradients' memory there already."""
    torch.autograd.backward(forward().sum())
    return peak_bytes(lambda: torch.autograd.backward(forward().sum()), device)
