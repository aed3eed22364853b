"""From prepared arrays to batches on the training device, made ready while the device works on the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import TypeVar

import torch

from mola.losses import without_targets
from mola.types import Batch, Benchmark, Sampling, Split

T = TypeVar("T")
AHEAD = 2  # batches that lie ready: one hides the time that a batch takes to make, the other its variation


def load(
    benchmark: Benchmark,
    split: Split,
    device: torch.device,
    *,
    size: int,
    seed: int = 0,
    epoch: int = 0,
    sampling: Sampling = "balanced",
    start: int = 0,
) -> Generator[Batch]:
    """The batches of one pass over a split, normalised, on ``device``; their ``task`` stays on the CPU.

    start: the first one: those before it are not made.

    A thread picks, augments and copies uint8 pixels, a quarter of the bytes of floats; to a GPU from pinned memory, on
    a stream of its own. Which samples come in which order, and their values, depend on none of that.
    Tasks without any known target are named here, where targets are on the CPU: a GPU would have to be waited for.
    """
    # not said where it says nothing: a benchmark of somebody's own may not know the word
    place = {"start": start} if start else {}
    batches = benchmark.batches(split, size=size, seed=seed, epoch=epoch, sampling=sampling, **place)
    raw = (without_targets(benchmark.tasks, batch) for batch in batches)
    with closing(ahead(_copied(raw, device) if device.type == "cuda" else raw, AHEAD)) as ready:
        for batch in ready:
            if device.type == "cuda":
                # made on the copies' stream, used on this one
                for tensor in (batch.x, *batch.y.values(), *([] if batch.pixels is None else [batch.pixels])):
                    tensor.record_stream(torch.cuda.current_stream(device))
            pixels = None if batch.pixels is None else benchmark.normalised(batch.pixels)
            yield replace(batch, x=benchmark.normalised(batch.x), pixels=pixels)


def ahead(items: Iterator[T], number: int) -> Generator[T]:
    """The same items, up to ``number`` of them made in advance by a thread.

    An exception of ``items`` is raised where its item would have come. Closing the generator ends the thread.
    """
    end = object()
    thread = ThreadPoolExecutor(1, "mola-loader")
    try:
        waiting = deque(thread.submit(next, items, end) for _ in range(number))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(thread.submit(next, items, end))
            yield item  # type: ignore[misc]
    finally:
        thread.shutdown(cancel_futures=True)


def _copied(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """Pixels and targets on the GPU: copied on a stream of their own, beside the GPU's other work."""
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    for batch in batches:
        with torch.cuda.stream(stream):
            x = batch.x.pin_memory().to(device, non_blocking=True)
            y = {name: target.pin_memory().to(device, non_blocking=True) for name, target in batch.y.items()}
            pixels = None if batch.pixels is None else batch.pixels.pin_memory().to(device, non_blocking=True)
        stream.synchronize()  # only the thread that calls next() waits
        yield replace(batch, x=x, y=y, pixels=pixels)
