"""The watches that a configuration asks for."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from functools import partial
from itertools import islice

import torch

from mola.config import Settings
from mola.losses import task_losses
from mola.seeds import derive
from mola.training.evaluate import evaluate
from mola.training.loading import load
from mola.training.probes import Watch
from mola.training.probes.gradients import GradientConflict
from mola.training.probes.oracle_selection import OracleSelection
from mola.training.probes.routing import Routing
from mola.types import Batch, Benchmark


def watches(settings: Settings, benchmark: Benchmark, seed: int, device: torch.device, first: bool) -> list[Watch]:
    """``first``: whether this is the suite's first seed; only there gradients and routing are looked at."""
    watch, training = settings.probes, settings.training
    size, amp = training.batch_size, training.amp and device.type == "cuda"
    made: list[Watch] = []
    if watch.oracle_selection:
        made.append(
            OracleSelection(partial(evaluate, benchmark=benchmark, split="test", size=4 * size, device=device, amp=amp))
        )
    if first and watch.gradients:

        def trained() -> Iterator[Batch]:  # the same images at every call
            batches = load(
                benchmark, "train", device, size=size, seed=derive(seed, "watch"), sampling=training.sampling
            )
            return islice(batches, watch.gradients)

        names = (task.name for task in benchmark.tasks)
        made.append(GradientConflict(names, trained, lambda method, b: task_losses(benchmark.tasks, method(b), b)))
    if first and watch.routing:
        few = copy(benchmark)
        few.limit = min(watch.routing, benchmark.limit or watch.routing)
        made.append(Routing(partial(load, few, "valid", device, size=4 * size)))
    return made
