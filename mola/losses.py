"""Losses of the tasks, and the paper's Task-wise Decorrelation loss.

Every operation here has a deterministic backward on CUDA, as runs ask for; torch's cross-entropy of maps has none.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mola.metrics.kinds import KINDS
from mola.types import Batch, Output, Task


def task_losses(tasks: Sequence[Task], output: Output, batch: Batch, share: bool = False) -> dict[str, Tensor]:
    """The loss () of every task present in the batch, by name, in fp32: the mean over what :func:`counted` counts.

    classes:      cross-entropy over the task's labelled samples.
    multilabel:   binary cross-entropy over all known labels of all samples.
    regression:   Huber's loss over the known targets, standardised by ``Task.mean`` and ``Task.std``: ½ e² where the
                  error e is below one standard deviation, |e| − ½ beyond, so that no outlier rules the gradient and
                  no unit its size.
    segmentation: cross-entropy over the labelled pixels.
    depth:        L1 over the pixels of known depth, in metres.
    normals:      1 − cosine over the pixels of known normal; the prediction is normalised here.

    share: each loss times its task's share of the batch, B_t/B: their sum is the mean over the batch, as in the
    released code for MedMNIST and RadImageNet. Samples without a known target of the task are none of the B_t.

    A batch without anything that counts has loss 0 and zero gradient. An absent task, and one in ``batch.empty``, has
    no entry: its loss is left out by name, not counted as zero.
    """
    losses = {}
    for task in tasks:
        if task.name in batch.y and task.name not in batch.empty:
            predictions, target = output.predictions[task.name], batch.y[task.name]
            with torch.autocast(predictions.device.type, enabled=False):
                known = counted(task, target)
                total = getattr(sys.modules[__name__], KINDS[task.kind].loss)(predictions.float(), scaled(task, target))
                weight = samples_counted(task, known) / len(batch.x) if share else 1.0
                losses[task.name] = weight * total / known.sum().clamp(min=1)
    return losses


def counted(task: Task, target: Tensor) -> Tensor:
    """Where a target counts, bool, in the target's shape: where labelled (≥ 0), or not NaN; (B_t, H, W) for depth and
    normals, where known (≠ 0).
    """
    missing = KINDS[task.kind].missing
    if missing == "NaN":
        return ~target.isnan()
    return target >= 0 if missing == "−1" else (target != 0).any(1)


def without_targets(tasks: Sequence[Task], batch: Batch) -> Batch:
    """The batch, which names in ``empty`` those of its tasks, dense ones apart, of which no target is known."""
    present = [task for task in tasks if task.name in batch.y and not KINDS[task.kind].dense]
    return replace(batch, empty=frozenset(t.name for t in present if not counted(t, batch.y[t.name]).any()))


def scaled(task: Task, target: Tensor) -> Tensor:
    """What the head is to predict: (y − mean)/std for regression, the target itself for others."""
    return (target - task.mean) / task.std if task.kind == "regression" else target


def samples_counted(task: Task, known: Tensor) -> Tensor | int:
    """How many samples have a target; of dense tasks all."""
    if KINDS[task.kind].dense:
        return len(known)
    return known.flatten(1).any(1).sum() if known.dim() > 1 else known.sum()


def cross_entropy(predictions: Tensor, target: Tensor) -> Tensor:
    """(B, K) scores and (B,) labels → the sum () over the labelled samples."""
    return F.cross_entropy(predictions, target, ignore_index=-1, reduction="sum")


def binary_cross_entropy(predictions: Tensor, target: Tensor) -> Tensor:
    """(B, K) scores and (B, K) of 0 and 1 → the sum () over the known labels."""
    known = target >= 0
    each = F.binary_cross_entropy_with_logits(predictions, torch.where(known, target, 0).float(), reduction="none")
    return torch.where(known, each, 0).sum()


def huber(predictions: Tensor, target: Tensor) -> Tensor:
    """(B, 1) and (B,) or (B, 1), standardised → the sum () over the known targets."""
    target = target.view_as(predictions)
    known = ~target.isnan()
    each = F.smooth_l1_loss(predictions, torch.where(known, target, 0).float(), reduction="none")
    return torch.where(known, each, 0).sum()


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
