"""Losses of the tasks, and the paper's Task-wise Decorrelation loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mola.types import Batch, Output, Task


def task_losses(tasks: Sequence[Task], output: Output, batch: Batch) -> dict[str, Tensor]:
    """The loss () of every task present in the batch, by name, in fp32.

    classes: mean cross-entropy over the task's samples. An absent task has no entry: its loss is left out by name, not
             counted as zero.
    """
    return {
        task.name: F.cross_entropy(output.predictions[task.name].float(), batch.y[task.name])
        for task in tasks
        if task.name in batch.y
    }


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
