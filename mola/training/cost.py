"""What a method costs: parameters, FLOPs, memory."""

from __future__ import annotations

import resource
import sys
from copy import copy
from dataclasses import replace
from typing import Any

import torch

from mola.methods import Method
from mola.training.flops import flop_counter
from mola.training.loading import load
from mola.types import BadInput, Batch, Benchmark

# images of each task: as many as a small batch holds, so that what is done once a batch is shared as in use
EACH = 8
# images that have every task: the paper's batch on NYUv2
EVERY = 2


def costs(method: Method, benchmark: Benchmark, device: torch.device) -> dict[str, Any]:
    """What the method costs: ``parameters`` and ``flops_per_sample`` of a record.

    This is a first forward pass, which shows whether the backbone takes such images at all; else it raises BadInput.
    """
    batch = example_batch(benchmark, device)
    try:
        parameters, flops = parameter_counts(method, batch), flops_per_sample(method, batch)
    except AssertionError as error:  # so timm's transformers refuse other sizes than their own
        height, width = batch.x.shape[-2:]
        raise BadInput(
            f"backbone: expected one that takes {benchmark.name}'s images of {height}×{width} pixels, found: {error}; "
            f"most transformers take backbone.options: {{img_size: [{height}, {width}]}}"
        ) from None
    # what ran before the batch was there counts for each image as if it ran now, once whatever the method
    if (prefix := getattr(benchmark, "prefix_costs", None)) and depends_on_input(method, batch):
        parameters["inference"] += prefix.parameters
        flops += prefix.flops
    return {"parameters": parameters, "flops_per_sample": flops}


def example_batch(benchmark: Benchmark, device: torch.device) -> Batch:
    """A batch with the first validation images of every task, ordered by task."""
    first: dict[str, Batch] = {}
    few = copy(benchmark)
    few.limit = min(EACH, benchmark.limit or EACH)  # or all images of the tasks before the last would be read
    for batch in load(few, "valid", device, size=EACH):
        if batch.task is None:  # every sample has every task
            y = {name: target[:EVERY] for name, target in batch.y.items()}
            pixels: Any = None if batch.pixels is None else batch.pixels[:EVERY]
            return Batch(batch.x[:EVERY], None, y, batch.tasks, pixels)
        for name in batch.y:
            first.setdefault(name, batch)
        if len(first) == len(benchmark.tasks):
            break
    batches = [first[task.name] for task in benchmark.tasks]
    task = torch.cat([batch.task for batch in batches if batch.task is not None])
    y = {name: target for batch in batches for name, target in batch.y.items()}
    pixels = [batch.pixels for batch in batches if batch.pixels is not None]
    together = torch.cat(pixels) if pixels else None
    return Batch(torch.cat([batch.x for batch in batches]), task, y, batches[0].tasks, together)


def flops_per_sample(method: Method, batch: Batch) -> int:
    """Floating-point operations of inference (a multiplication and an addition count as two) for one image, averaged
    over the tasks; where every image has every task, for all of them together.
    """
    method.eval()
    with torch.no_grad(), flop_counter() as counter:
        method(batch)
    return int(counter.get_total_flops()) // len(batch.x)


def parameter_counts(method: Method, batch: Batch) -> dict[str, int]:
    """``trainable``: all that the optimiser steps; ``inference``: those that the predictions of all tasks depend on."""
    method.eval()
    learning = [p for p in method.parameters() if p.requires_grad]
    frozen = [p for p in method.parameters() if not p.requires_grad]
    everything = [*learning, *frozen]
    try:
        for parameter in frozen:  # a prediction depends on it all the same
            parameter.requires_grad_()
        with torch.enable_grad():
            total = torch.stack([prediction.float().sum() for prediction in method(batch).predictions.values()]).sum()
            gradients = torch.autograd.grad(total, everything, allow_unused=True)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
    used = sum(p.numel() for p, gradient in zip(everything, gradients, strict=True) if gradient is not None)
    return {"trainable": sum(p.numel() for p in learning), "inference": used}


def depends_on_input(method: Method, batch: Batch) -> bool:
    """Whether any prediction depends on ``batch.x``, in evaluation."""
    method.eval()
    x = batch.x.detach().requires_grad_()
    with torch.enable_grad():
        predictions = method(replace(batch, x=x)).predictions.values()
        total = torch.stack([prediction.float().sum() for prediction in predictions]).sum()
    return torch.autograd.grad(total, x, allow_unused=True)[0] is not None


def peak_memory_bytes(device: torch.device) -> int:
    """Peak of the tensors on a GPU since its last reset; on a CPU the peak of the whole process since its start."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
