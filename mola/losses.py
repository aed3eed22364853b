"""Losses of the tasks, and the paper's Task-wise Decorrelation loss.

Every operation here has a deterministic backward on CUDA, as runs ask for; torch's cross-entropy of maps has none.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mola.metrics.kinds import KINDS
from mola.types import Batch, Output, Task


def task_losses(tasks: Sequence[Task], output: Output, batch: Batch, share: bool = False) -> dict[str, Tensor]:
    """The loss () of every task present in the batch, by name, in fp32: the mean over what :func:`counted` counts.

    classes:      cross-entropy over the task's samples.
    segmentation: cross-entropy over the labelled pixels.
    depth:        L1 over the pixels of known depth, in metres.
    normals:      1 − cosine over the pixels of known normal; the prediction is normalised here.

    share: each loss times its task's share of the batch, B_t/B: their sum is the mean over the batch, as in the
    released code for MedMNIST and RadImageNet.

    A batch without any pixel that counts has loss 0 and zero gradient. An absent task has no entry: its loss is left
    out by name, not counted as zero.
    """
    losses = {}
    for task in tasks:
        if task.name in batch.y:
            predictions, target = output.predictions[task.name], batch.y[task.name]
            with torch.autocast(predictions.device.type, enabled=False):
                total = getattr(sys.modules[__name__], KINDS[task.kind].loss)(predictions.float(), target)
                weight = len(target) / len(batch.x) if share else 1.0
                losses[task.name] = weight * total / counted(task, target).sum().clamp(min=1)
    return losses


def counted(task: Task, target: Tensor) -> Tensor:
    """Where a target counts, bool: (B_t,) for classes; (B_t, H, W) for dense tasks, where labelled (≥ 0) or known
    (≠ 0).
    """
    return target >= 0 if KINDS[task.kind].labels else (target != 0).any(1)


def cross_entropy(predictions: Tensor, target: Tensor) -> Tensor:
    """(B, K) scores and (B,) labels → the sum () over the samples."""
    return F.cross_entropy(predictions, target, reduction="sum")


def pixel_cross_entropy(predictions: Tensor, target: Tensor) -> Tensor:
    """(B, K, H, W) scores and (B, H, W) labels → the sum () over the labelled pixels."""
    # (B·H·W, K) as samples: deterministic, as maps it is not
    pixels = predictions.movedim(1, -1).flatten(0, -2)
    return F.cross_entropy(pixels, target.flatten(), ignore_index=-1, reduction="sum")


def absolute_error(predictions: Tensor, target: Tensor) -> Tensor:
    """(B, 1, H, W) each → the sum () of |p − d| over the pixels of known depth."""
    return torch.where(target != 0, (predictions - target).abs(), 0).sum()


def cosine_distance(predictions: Tensor, target: Tensor) -> Tensor:
    """(B, 3, H, W) each → the sum () of 1 − cos over the pixels of known normal."""
    # by sums of three maps: F.normalize reduces along a strided axis, slowly
    length = predictions.square().sum(1).clamp(min=1e-12).sqrt()
    cosine = (predictions * target).sum(1) / length
    return torch.where((target != 0).any(1), 1 - cosine, 0).sum()


def task_decorrelation(scores: Tensor, task: Tensor, temperature: float = 1.0) -> Tensor:
    """Task-wise Decorrelation (TwD) of routing representations: same task, similar; other tasks, decorrelated.

    scores:      (B, D) routing representations; normalised here.
    task:        (B,) int64, on any device.
    temperature: τ > 0.
    Returns ():  with s_ij = exp(z_i·z_j / τ), the mean over ordered pairs i ≠ j of one task of −log( s_ij / Σ_{m≠i}
    s_im ).

    Source: arXiv 2406.09679, Section 3 (TwD). The released code loops over pairs and crashes where no pair shares a
    task: that is 0 here.
    Worked in fp32 with a log-sum-exp, so a small τ stays finite and autocast does not reach it.
    """
    with torch.autocast(scores.device.type, enabled=False):
        z = F.normalize(scores if scores.dtype == torch.float64 else scores.float(), dim=1)
        similarity = z @ z.T / temperature  # (B, B)
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        task = task.to(z.device)
        pairs = (task[:, None] == task[None, :]) & ~itself
        # −log s_ij/Σ = logsumexp over m ≠ i − z_i·z_j/τ. A finite mask value: −inf alone in a row would give NaN
        # gradients (B = 1)
        everyone = similarity.masked_fill(itself, torch.finfo(z.dtype).min).logsumexp(1, keepdim=True)
        return torch.where(pairs, everyone - similarity, 0).sum() / pairs.sum().clamp(min=1)
