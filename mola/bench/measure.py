"""Time, memory and operations of a piece of work, so that two pieces can be compared on a busy machine."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch.profiler import ProfilerActivity, profile

from mola.training.flops import flop_counter

Work = Callable[[], object]


@dataclass
class Times:
    """Seconds of each repeat: on the wall, and of this process on all its cores (on a GPU: of the GPU)."""

    wall: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)

    @property
    def median_wall(self) -> float:
        """Seconds."""
        return statistics.median(self.wall)


def interleaved(works: Mapping[str, Work], repeats: int, device: torch.device) -> dict[str, Times]:
    """Each work once in turn, ``repeats`` times over, after one round that doesn't count: what slows the machine down
    for a while then slows all of them.
    """
    times = {name: Times() for name in works}
    for work in works.values():
        work()
    gc.collect()
    # a collection would fall on whatever work runs then
    gc.disable()
    try:
        for _ in range(repeats):
            for name, work in works.items():
                wall, busy = _once(work, device)
                times[name].wall.append(wall)
                times[name].busy.append(busy)
    finally:
        gc.enable()
    return times


def _once(work: Work, device: torch.device) -> tuple[float, float]:
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize(device)
        wall = time.perf_counter()
        start.record()
        work()
        end.record()
        torch.cuda.synchronize(device)
        return time.perf_counter() - wall, start.elapsed_time(end) / 1000
    wall, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - busy


def ratios(times: Times, base: Times) -> tuple[float, float, float]:
    """Median, lowest and highest of the busy time against the base's in the same round."""
    rounds = [a / b for a, b in zip(times.busy, base.busy, strict=True)]
    return statistics.median(rounds), min(rounds), max(rounds)


def wall_ratio(times: Times, base: Times) -> float:
    """Median of the wall time against the base's in the same round."""
    return statistics.median(a / b for a, b in zip(times.wall, base.wall, strict=True))


def peak_bytes(work: Work, device: torch.device) -> int:
    """The most that torch's allocator gave ``work`` at one time, beyond what was allocated before."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    results = profiler.profiler.kineto_results  # type: ignore[union-attr]
    events = sorted((e.start_ns(), e.nbytes()) for e in results.events() if e.name() == "[memory]")
    allocated = peak = 0
    for _, change in events:
        allocated += change
        peak = max(peak, allocated)
    return peak


def flops(work: Work) -> int:
    """Floating-point operations of convolutions and matrix products; a multiplication and an addition are two."""
    counter = flop_counter({torch.ops.aten.convolution_backward: _of_convolution_backward})
    # the kernels of torch.compile can't be counted
    with torch.compiler.set_stance("force_eager"), counter:
        work()
    return int(counter.get_total_flops())


def _of_convolution_backward(
    grad: torch.Size, x: torch.Size, weight: torch.Size, *rest: object, out_shape: object = None, **names: object
) -> int:
    """Of a convolution's gradients, as many as of its forward for each that is computed. torch's count forgets the
    groups. Shapes: grad (B, C_out, …), x (B, C_in, …), weight (C_out, C_in/groups, …).
    """
    *_, transposed, _, _, output_mask = rest
    outputs = x if transposed else grad
    return 2 * math.prod(outputs) * math.prod(weight[1:]) * sum(output_mask[:2])  # type: ignore[index, misc]


def rate_of_products(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second of one large matrix product, the best of a few: a practical peak."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times = interleaved({"product": lambda: a @ b}, 10, device)["product"]
    return 2 * size**3 / min(times.wall)
