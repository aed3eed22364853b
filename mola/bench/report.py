"""Rows of a comparison with the plain model, as a table and as JSON."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from mola.bench.cases import Case, Setting
from mola.bench.measure import Work, flops, interleaved, peak_bytes, rate_of_products, ratios, wall_ratio


@dataclass
class Entry:
    """A piece of work. model: what it trains, if it does; states: optimiser states per parameter; images: per step.

    forward: its forward pass alone. again: a backward pass that finds the gradients' memory there already.
    shared:  the parameters that all tasks reach. apart: bytes that are left out of its peak.
    """

    step: Work
    images: int
    model: nn.Module | None = None
    states: int = 0
    forward: Work | None = None
    again: Work | None = None
    shared: list[nn.Parameter] = field(default_factory=list)
    apart: int = 0


@dataclass(frozen=True)
class Row:
    """One line of the table; ratios against the first entry in the same run.

    time, lowest, highest: median and range of the busy time of the whole work; wall, forward: medians.
    memory:  peak of parameters, gradients, optimiser states and activations; working: without the first three.
    of_peak: operations per second, as a share of what the device reaches in one large matrix product.
    """

    name: str
    time: float
    lowest: float
    highest: float
    wall: float
    forward: float | None
    flops: float
    memory: float
    working: float | None
    images_per_second: float
    of_peak: float


def compare(entries: Mapping[str, Entry], setting: Setting, repeats: int) -> list[Row]:
    """A row for each entry; the first is what the others are compared with."""
    on, base = setting.on, next(iter(entries))
    times = interleaved({name: entry.step for name, entry in entries.items()}, repeats, on)
    fronts = interleaved({name: entry.forward for name, entry in entries.items() if entry.forward}, repeats, on)
    operations = {name: flops(entry.step) for name, entry in entries.items()}
    peak = rate_of_products(on, torch.bfloat16 if setting.precision == "bf16" else torch.float32)
    whole, working = {}, {}
    for name, entry in entries.items():
        for other in entries.values():
            if other.model is not None:
                other.model.zero_grad(set_to_none=True)
        whole[name] = peak_bytes(entry.step, on) + _standing(entry) - entry.apart
        working[name] = peak_bytes(entry.again, on) if entry.again else None
    rows = []
    for name, entry in entries.items():
        seconds = times[name].median_wall
        rows.append(
            Row(
                name,
                *ratios(times[name], times[base]),
                wall_ratio(times[name], times[base]),
                ratios(fronts[name], fronts[base])[0] if name in fronts else None,
                operations[name] / operations[base],
                whole[name] / whole[base],
                _ratio(working[name], working[base]),
                entry.images / seconds,
                operations[name] / seconds / peak,
            )
        )
    return rows


def table(rows: list[Row]) -> str:
    """The rows as text."""
    width = max(len(row.name) for row in rows)
    lines = [
        f"{'':{width}s}  time (lowest–highest)  wall    fwd     FLOPs   memory  working  images/s  of peak",
    ]
    for r in rows:
        spread = f"{r.time:5.3f} ({r.lowest:.2f}–{r.highest:.2f})"
        ratios_ = "  ".join(f"{_shown(v):6s}" for v in (r.wall, r.forward, r.flops, r.memory, r.working))
        lines.append(f"{r.name:{width}s}  {spread:21s}  {ratios_}  {r.images_per_second:7.0f}  {r.of_peak:6.0%}")
    return "\n".join(lines)


def as_json(case: Case, setting: Setting, repeats: int, rows: list[Row]) -> dict[str, Any]:
    """The rows with what they were measured on."""
    return {
        "case": asdict(case),
        "setting": asdict(setting),
        "repeats": repeats,
        **surroundings(setting.device),
        "rows": [asdict(row) for row in rows],
    }


def surroundings(device: str) -> dict[str, Any]:
    """The machine and the versions."""
    import timm

    what = torch.cuda.get_device_name() if device.startswith("cuda") else _processor()
    return {
        "machine": {"device": what, "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__},
    }


def _standing(entry: Entry) -> int:
    if entry.model is None:
        return 0
    return sum((1 + entry.states) * p.numel() * p.element_size() for p in entry.model.parameters())


def _ratio(value: int | None, base: int | None) -> float | None:
    return None if value is None or base is None else value / base


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _processor() -> str:
    try:
        from pathlib import Path

        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
