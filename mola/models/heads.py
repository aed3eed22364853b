"""Heads: what turns features into each task's prediction."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mola.metrics.kinds import KINDS
from mola.models.backbones import head_width, width
from mola.models.resampling import pooled, resized
from mola.types import Batch, Task

LEVELS = (1, 2, 3, 6)  # cells a side


class Heads(nn.Module):
    """One head per task: linear (Section 3 of the paper: a classifier per task on the shared features), a
    :class:`PyramidHead` for dense tasks.

    backbone: what gives the features; read for their width and for that of the dense heads, see
              :mod:`mola.models.backbones`.
    """

    def __init__(self, tasks: Sequence[Task], backbone: nn.Module) -> None:
        super().__init__()
        features = width(backbone)
        self.tasks = nn.ModuleDict(
            {
                task.name: PyramidHead(features, task.outputs, head_width(backbone))
                if KINDS[task.kind].dense
                else nn.Linear(features, task.outputs)
                for task in tasks
            }
        )

    def forward(self, features: Tensor, batch: Batch) -> dict[str, Tensor]:
        """(B, F) features of the whole batch, or (B, F, h, w) maps → per task present, by name, (B_t, K), or
        (B_t, K, H, W) at the images' size for dense tasks.
        """
        predictions = {}
        for name in batch.y:
            head, rows = self.tasks[name], features[batch.rows(name)]
            if isinstance(head, PyramidHead):
                predictions[name] = resized(head(rows), (batch.x.shape[-2], batch.x.shape[-1]))
            else:
                predictions[name] = head(rows if rows.dim() == 2 else rows.mean((2, 3)))
        return predictions


class PyramidHead(nn.Module):
    """A pyramid pooling head: what the scene is about, at four scales, beside each pixel's own features.

    features: F, channels of the map. outputs: K. width: channels of the last hidden map; 512 is the paper's.

    Source: PSPNet, Zhao et al. 2017 (arXiv 1612.01105), which the paper's NYUv2 experiments use on a dilated ResNet-50.
    Differs from it: the 1×1 convolutions behind the pooling have no BatchNorm. On the 1×1 map its statistics would come
    from as many values as the batch has images, two in the paper, and from one image it can't be trained at all.
    """

    def __init__(self, features: int, outputs: int, width: int) -> None:
        super().__init__()
        reduced = max(1, features // len(LEVELS))
        self.levels = nn.ModuleList(nn.Conv2d(features, reduced, 1) for _ in LEVELS)
        self.mix = nn.Sequential(
            nn.Conv2d(features + reduced * len(LEVELS), width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.predict = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, h, w) → (B, K, h, w)."""
        size = (x.shape[-2], x.shape[-1])
        scales = [
            resized(level(cells.to(x.dtype)), size).to(x.dtype)
            for cells, level in zip(pooled(x, LEVELS), self.levels, strict=True)
        ]
        predicted: Tensor = self.predict(self.mix(torch.cat([x, *scales], 1)))
        return predicted
