"""Evaluation: the metrics of a method over a whole split."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from mola.losses import task_losses
from mola.methods import Method
from mola.metrics import evaluate_task
from mola.training.loading import load
from mola.types import Benchmark, Split

Scores = dict[str, dict[str, float]]  # task → metric → value; "loss" beside the task's own metrics


@torch.no_grad()
def evaluate(
    method: Method, benchmark: Benchmark, split: Split, *, size: int, device: torch.device, amp: bool
) -> Scores:
    """Every sample of the split once, in order, without augmentation; batches of ``size`` samples."""
    method.eval()
    predictions: dict[str, list[Tensor]] = defaultdict(list)
    targets: dict[str, list[Tensor]] = defaultdict(list)
    losses: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for batch in load(benchmark, split, device, size=size):
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            output = method(batch)
        for name, loss in task_losses(benchmark.tasks, output, batch).items():
            predictions[name].append(output.predictions[name].float().cpu())
            targets[name].append(batch.y[name].cpu())
            losses[name].append((float(loss), len(batch.y[name])))
    return {
        task.name: {
            **evaluate_task(task, torch.cat(predictions[task.name]), torch.cat(targets[task.name])),
            "loss": sum(value * n for value, n in losses[task.name]) / sum(n for _, n in losses[task.name]),
        }
        for task in benchmark.tasks
    }
