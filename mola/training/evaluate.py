"""Evaluation: the metrics of a method over a whole split."""

from __future__ import annotations

import math

import torch

from mola.losses import counted, task_losses
from mola.methods import Method
from mola.metrics.accumulators import accumulator
from mola.training.loading import load
from mola.types import Benchmark, Split

Scores = dict[str, dict[str, float]]  # task → metric → value; "loss" beside the task's own metrics


@torch.no_grad()
def evaluate(
    method: Method, benchmark: Benchmark, split: Split, *, size: int, device: torch.device, amp: bool
) -> Scores:
    """Every sample of the split once, in order, without augmentation; batches of ``size`` samples.

    The loss is the mean over all samples (pixels that count, of dense tasks), however they fall into batches; NaN where
    a prediction was not finite, so that it tells a model that diverged from a metric that the split does not define. A
    task without any target in the split has ``targets`` 0 instead of a loss, and NaN for its metrics.
    """
    method.eval()
    tasks = {task.name: task for task in benchmark.tasks}
    metrics = {name: accumulator(task) for name, task in tasks.items()}
    sums, counts = dict.fromkeys(tasks, 0.0), dict.fromkeys(tasks, 0)
    for batch in load(benchmark, split, device, size=size):
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            output = method(batch)
        for name, loss in task_losses(benchmark.tasks, output, batch).items():
            metrics[name].update(output.predictions[name].float(), batch.y[name])
            count = int(counted(tasks[name], batch.y[name]).sum())
            sums[name] += float(loss) * count
            counts[name] += count
    losses = {
        name: {"loss": sums[name] / count if metrics[name].usable() else math.nan} if count else {"targets": 0.0}
        for name, count in counts.items()
    }
    return {name: {**metrics[name].compute(), **losses[name]} for name in tasks}
