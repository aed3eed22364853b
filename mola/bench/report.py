"""Rows of a comparison with the plain model, as a table and as JSON."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from mola.bench.measure import Work, flops, interleaved, peak_bytes, rate_of_products, ratios, wall_ratio
from mola.bench.workloads import Setting, Workload
from mola.training.devices import processor


@dataclass
class Entry:
    """A piece of work to measure.

    images:     of a step.
    model:      what a step trains, if it does.
    forward:    the forward pass alone.
    accumulate: forward and backward into gradients that are there already.
    state:      tensors that stay between the steps and are none of the model's, such as a balancer's.
    optimizer_states: per parameter.
    jacobian_bytes:   of the tasks' gradients, a row each, in the peak; 0 where none are kept.
    """

    step: Work
    images: int
    model: nn.Module | None = None
    forward: Work | None = None
    accumulate: Work | None = None
    state: Callable[[], object] = dict
    optimizer_states: int = 0
    jacobian_bytes: int = 0


@dataclass(frozen=True)
class Row:
    """One line of the table; ratios against the first entry in the same run.

    time, lowest, highest: median and range of the busy time of the whole work; wall, forward: medians.
    memory:  peak of parameters, gradients, optimiser states, activations and all that a balancer keeps; working: of
             activations and the like alone.
    memory_without_jacobian: of a balancer that makes one.
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
    memory_without_jacobian: float | None
    images_per_second: float
    of_peak: float


def compare(entries: Mapping[str, Entry], setting: Setting, repeats: int) -> list[Row]:
    """A row for each entry; the first is what the others are compared with."""
    on, base = setting.on, next(iter(entries))
    times = interleaved({name: entry.step for name, entry in entries.items()}, repeats, on)
    forwards = interleaved({name: entry.forward for name, entry in entries.items() if entry.forward}, repeats, on)
    operations = {name: flops(entry.step) for name, entry in entries.items()}
    fastest = rate_of_products(on, setting.dtype)
    peaks: dict[str, int] = {}
    working: dict[str, int] = {}
    for name, entry in entries.items():
        for other in entries.values():
            if other.model is not None:
                other.model.zero_grad(set_to_none=True)
        peaks[name] = peak_bytes(entry.step, on) + _kept_bytes(entry)
        if entry.accumulate:
            working[name] = peak_bytes(entry.accumulate, on)
    rows = []
    for name, entry in entries.items():
        seconds = times[name].median_wall
        rows.append(
            Row(
                name,
                *ratios(times[name], times[base]),
                wall_ratio(times[name], times[base]),
                ratios(forwards[name], forwards[base])[0] if name in forwards else None,
                operations[name] / operations[base],
                peaks[name] / peaks[base],
                working[name] / working[base] if {name, base} <= working.keys() else None,
                (peaks[name] - entry.jacobian_bytes) / peaks[base] if entry.jacobian_bytes else None,
                entry.images / seconds,
                operations[name] / seconds / fastest,
            )
        )
    return rows


def table(rows: list[Row]) -> str:
    """The rows as text."""
    width = max(len(row.name) for row in rows)
    jacobian = any(row.memory_without_jacobian is not None for row in rows)
    names = ["wall", "fwd", "FLOPs", "memory", "working", *["without J"] * jacobian]
    lines = [f"{'':{width}s}  time (lowest–highest)  {'  '.join(f'{n:6s}' for n in names)}  images/s  of peak"]
    for r in rows:
        spread = f"{r.time:5.3f} ({r.lowest:.2f}–{r.highest:.2f})"
        values = [r.wall, r.forward, r.flops, r.memory, r.working, *[r.memory_without_jacobian] * jacobian]
        columns = "  ".join(f"{shown(v):{max(6, len(n))}s}" for v, n in zip(values, names, strict=True))
        lines.append(f"{r.name:{width}s}  {spread:21s}  {columns}  {r.images_per_second:7.0f}  {r.of_peak:6.0%}")
    return "\n".join(lines)


def as_json(workload: Workload, setting: Setting, repeats: int, rows: list[Row]) -> dict[str, Any]:
    """The rows with what they were measured on."""
    return {
        "workload": asdict(workload),
        "setting": asdict(setting),
        "repeats": repeats,
        **surroundings(setting.device),
        "rows": [asdict(row) for row in rows],
    }


def surroundings(device: str) -> dict[str, Any]:
    """The machine and the versions."""
    import timm

    # with what decides which kernels torch takes
    cpu = f"{processor()}, {torch.backends.cpu.get_cpu_capability()}"
    name = torch.cuda.get_device_name() if device.startswith("cuda") else cpu
    return {
        "machine": {"device": name, "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__},
    }


def _kept_bytes(entry: Entry) -> int:
    """Of what stays between two steps, gradients apart."""
    state = [leaf for leaf in tree_leaves(entry.state()) if isinstance(leaf, torch.Tensor)]
    model = [] if entry.model is None else list(entry.model.parameters())
    return sum(t.numel() * t.element_size() for t in [*state, *model * (1 + entry.optimizer_states)])


def shown(value: float | None) -> str:
    """A ratio; small ones with a digit more."""
    return "–" if value is None else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"
