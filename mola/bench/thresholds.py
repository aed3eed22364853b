"""Thresholds for adapters, balancers and methods: bounds of ratios, each for one workload and setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from mola import registry
from mola.balancers._base import Cost
from mola.bench.report import Row
from mola.bench.workloads import WORKLOADS, Precision, Setting, Workload


class Threshold(NamedTuple):
    """The most that time and memory of a row may be, relative to another row.

    memory:    without the Jacobian where the row's balancer makes one; None: no bound.
    of_flops:  the bound is on time relative to the row's FLOPs, not to the other row's time.
    is_rate:   the bound is the least share of the other row's images per second, and not the most of its time.
    device, precision: what it binds; images channels last and torch.compile are free on a GPU.
    """

    workload: str
    row: str
    base: str
    time: float
    memory: float | None = None
    of_flops: bool = False
    is_rate: bool = False
    device: str = "cpu"
    precision: Precision = "fp32"

    def binds(self, workload: Workload, setting: Setting) -> bool:
        """Whether what was measured is what the bound is for."""
        if setting.device == "cpu" and (setting.channels_last or setting.compiled):
            return False
        return (self.device, self.precision) == (setting.device, setting.precision) and (
            workload == BOUND_WORKLOADS[self.workload]
        )


BOUND_WORKLOADS = WORKLOADS | {"resnet50 on a GPU": replace(WORKLOADS["resnet50"], batch=128, size=224)}


def _on_a_gpu(row: str, least: float) -> Threshold:
    return Threshold("resnet50 on a GPU", row, "plain", least, is_rate=True, device="cuda", precision="bf16")


THRESHOLDS = (
    Threshold("resnet50", "grad E=4", "plain", 1.18, 1.05),
    Threshold("resnet50", "sorted E=4", "plain", 1.18, 1.05),
    Threshold("resnet50", "router E=4", "plain", 1.28, 1.07),
    Threshold("resnet18", "grad E=4", "plain", 1.22),
    Threshold("resnet18", "sorted E=4", "plain", 1.22),
    Threshold("resnet18", "router E=4", "plain", 1.32),
    Threshold("vit_small", "grad E=4", "plain", 1.10),
    Threshold("vit_small", "sorted E=4", "plain", 1.10),
    Threshold("vit_small", "router E=4", "plain", 1.12),
    Threshold("resnet18", "grad E=32", "grad E=4", 1.35, 1.4),
    Threshold("resnet18", "router E=32", "router E=4", 2.6),
    Threshold("resnet18", "top2 E=32", "top2 E=4", 1.6),
    Threshold("resnet18", "two_conv E=32", "two_conv E=4", 1.6),
    _on_a_gpu("grad E=4", 0.90),
    # with one kernel for both projections: 0.87
    _on_a_gpu("router E=4", 0.74),
    Threshold("resnet18", "MoLA-Grad step", "plain step", 1.45, 1.2),
    Threshold("resnet18", "small router network", "plain step", 0.03),
    Threshold("resnet18", "TwD, B = 256", "plain step", 0.01),
    Threshold("resnet50", "small router network", "plain step", 0.03),
    *(Threshold("resnet18", f"{name}, T = 4", "plain step", 1.3, of_flops=True) for name in ("mtan", "cgc", "ltb")),
)
# by what a balancer's steps cost
OF_BALANCERS: dict[Cost, tuple[Threshold, ...]] = {
    "weighting": (Threshold("resnet18", "{name}, T = 4", "plain step", 1.05),),
    "features": (Threshold("resnet18", "{name}, T = 4", "plain step", 1.15),),
    "jacobian": (
        Threshold("resnet18", "{name}, T = 4", "plain step", 3.0, 1.5),
        Threshold("resnet18", "{name}, T = 9", "plain step", 8.0),
        Threshold("vit_tiny", "{name}, T = 4", "plain step", 1.35),
        Threshold("vit_tiny", "{name}, T = 9", "plain step", 1.35),
    ),
}


def verdicts(workload: Workload, setting: Setting, rows: Sequence[Row]) -> list[str]:
    """A line for each threshold whose two rows were measured, met or not; none for another workload or setting."""
    by_name = {row.name: row for row in rows}
    thresholds = [*THRESHOLDS]
    for name in registry.names("balancers"):
        if any(row.startswith(f"{name}, T = ") for row in by_name):
            family = OF_BALANCERS[registry.load("balancers", name).cost]
            thresholds += [threshold._replace(row=threshold.row.format(name=name)) for threshold in family]
    lines = []
    for threshold in thresholds:
        known = {threshold.row, threshold.base} <= by_name.keys()
        if not known or not threshold.binds(workload, setting):
            continue
        row, base = by_name[threshold.row], by_name[threshold.base]
        if threshold.is_rate:
            share, least = row.images_per_second / base.images_per_second, threshold.time
            verdict = "met" if share >= least else "MISSED"
            lines.append(f"{threshold.row} against {threshold.base}: rate {share:.2f}, threshold {least:.2f} {verdict}")
            continue
        share = row.flops / base.flops if threshold.of_flops else 1.0
        quantity = "time for its FLOPs" if threshold.of_flops else "time"
        parts = [_verdict(quantity, row.time / base.time / share, threshold.time)]
        if threshold.memory is not None:
            rest = row.memory_without_jacobian
            quantity, memory = ("memory", row.memory) if rest is None else ("memory without J", rest)
            parts.append(_verdict(quantity, memory / base.memory, threshold.memory))
        lines.append(f"{threshold.row} against {threshold.base}: {', '.join(parts)}")
    return lines


def _verdict(quantity: str, ratio: float, bound: float) -> str:
    digits = 3 if bound < 0.1 else 2
    return f"{quantity} {ratio:.{digits}f}, threshold {bound:.{digits}f} {'met' if ratio <= bound else 'MISSED'}"
