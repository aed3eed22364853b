"""What adapters, balancers and methods are held to: upper bounds of ratios, each for one case, in fp32 on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mola import registry
from mola.balancers._base import Cost
from mola.bench.report import Row
from mola.bench.workloads import CASES, Case, Setting


class Bar(NamedTuple):
    """A row against another one: the most that time and memory may be, that beside the Jacobian where the row makes
    one; None: no bound.
    """

    case: str
    row: str
    base: str
    time: float
    memory: float | None = None
    of_flops: bool = False  # the bound is on time against the row's FLOPs, not against the base's time


BARS = (
    Bar("resnet50", "grad E=4", "plain", 1.45, 1.15),
    Bar("resnet50", "router E=4", "plain", 1.45, 1.20),
    Bar("vit_small", "grad E=4", "plain", 1.20, 1.20),
    Bar("vit_small", "router E=4", "plain", 1.20, 1.20),
    Bar("resnet18", "grad E=32", "grad E=4", 1.6, 1.4),
    Bar("resnet18", "router E=32", "router E=4", 2.8, 2.0),
    Bar("resnet18", "MoLA-Grad step", "plain step", 1.45, 1.2),
    Bar("resnet18", "small router network", "plain step", 0.03, None),
    Bar("resnet18", "TwD, B = 256", "plain step", 0.01, None),
    Bar("resnet50", "small router network", "plain step", 0.03, None),
    *(Bar("resnet18", f"{name}, T = 4", "plain step", 1.3, of_flops=True) for name in ("mtan", "cgc", "ltb")),
)
OF_BALANCERS: dict[Cost, tuple[Bar, ...]] = {  # by what a balancer's steps cost
    "weighting": (Bar("resnet18", "{name}, T = 4", "plain step", 1.05),),
    "features": (Bar("resnet18", "{name}, T = 4", "plain step", 1.15),),
    "jacobian": (
        Bar("resnet18", "{name}, T = 4", "plain step", 3.0, 1.5),
        Bar("resnet18", "{name}, T = 9", "plain step", 8.0),
    ),
}


def held(case: Case, setting: Setting, rows: Sequence[Row]) -> list[str]:
    """A line for each bar whose two rows were measured, met or not; none where the case or the setting is another."""
    found = {row.name: row for row in rows}
    balancers = {name for name in registry.names("balancers") for row in found if row.startswith(f"{name}, T = ")}
    bars = [*BARS]
    for name in sorted(balancers):
        family = OF_BALANCERS[registry.load("balancers", name).cost]
        bars += [bar._replace(row=bar.row.format(name=name)) for bar in family]
    lines = []
    for bar in bars:
        if setting != Setting() or case != CASES[bar.case] or not {bar.row, bar.base} <= found.keys():
            continue
        row, base = found[bar.row], found[bar.base]
        share = row.flops / base.flops if bar.of_flops else 1.0
        parts = [_told("time for its FLOPs" if bar.of_flops else "time", row.time / base.time / share, bar.time)]
        if bar.memory is not None:
            what, memory = ("memory", row.memory) if row.beside is None else ("memory beside J", row.beside)
            parts.append(_told(what, memory / base.memory, bar.memory))
        lines.append(f"{bar.row} against {bar.base}: {', '.join(parts)}")
    return lines


def _told(what: str, ratio: float, bound: float) -> str:
    digits = 3 if bound < 0.1 else 2
    return f"{what} {ratio:.{digits}f}, bar {bound:.{digits}f} {'met' if ratio <= bound else 'MISSED'}"
