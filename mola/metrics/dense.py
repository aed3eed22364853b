"""Metrics of dense tasks, from sums and counts over all pixels of a split: no map is kept.

Source: the nine metrics of NYUv2 in multi-task learning, as in MTAN (Liu et al. 2019, arXiv 1803.10704).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mola.metrics.base import Accumulator
from mola.types import Task


class Segmentation(Accumulator):
    """``miou`` and ``pixel_accuracy`` from one confusion matrix over the labelled pixels.

    miou: mean intersection over union over the classes that occur in the targets.
    (torchmetrics' matrix is not used: in deterministic mode it takes 8·K² bytes a pixel.)
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.confusion = torch.zeros(task.outputs, task.outputs, dtype=torch.int64)  # rows: target
        self.finite = True

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """predictions: (B, K, H, W) scores; targets: (B, H, W) int64, −1 unlabelled."""
        classes, labelled = self.task.outputs, targets >= 0
        cells = (classes * targets + predictions.argmax(1))[labelled]
        counts = torch.bincount(cells, minlength=classes**2)
        self.confusion += counts.view(classes, classes).cpu()
        self.finite &= bool(predictions.isfinite().all())  # the argmax of a diverged model would look like a guess

    def measured(self) -> dict[str, float]:
        """Both in [0, 1]."""
        confusion = self.confusion.double()
        hits, support = confusion.diagonal(), confusion.sum(1)
        union = (support + confusion.sum(0) - hits).clamp(min=1)
        seen = support > 0
        if not (self.finite and seen.any()):
            return {"miou": math.nan, "pixel_accuracy": math.nan}
        return {"miou": float((hits / union)[seen].mean()), "pixel_accuracy": float(hits.sum() / support.sum())}


class Depth(Accumulator):
    """``abs_error`` = mean |p − d| in metres and ``rel_error`` = mean |p − d|/d over the pixels of known depth d."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.sums = torch.zeros(3, dtype=torch.float64)  # absolute, relative, pixels

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """predictions and targets: (B, 1, H, W) metres, targets 0 where unknown."""
        known = targets != 0
        wanted = targets[known].double()
        error = (predictions[known].double() - wanted).abs()
        self.sums += torch.stack([error.sum(), (error / wanted).sum(), known.sum()]).cpu()

    def measured(self) -> dict[str, float]:
        """Both ≥ 0; lower is better."""
        absolute, relative, pixels = self.sums.tolist()
        return {"abs_error": absolute / pixels, "rel_error": relative / pixels} if pixels else _nothing(*DEPTH)


class Normals(Accumulator):
    """Angles between predicted and true normals, in degrees, over the pixels of known normal.

    ``mean_angle``; ``median_angle``; ``within_11``, ``within_22``, ``within_30``: the fractions below 11.25°, 22.5°,
    30°. The median comes from a histogram of bins of 0.001° and is exact to half of that. A zero prediction is 90° off,
    as in the loss.
    """

    BINS, LIMITS = 180_000, (11.25, 22.5, 30.0)

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.histogram = torch.zeros(self.BINS, dtype=torch.int64)
        self.below = torch.zeros(len(self.LIMITS), dtype=torch.int64)
        self.sum = 0.0

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """predictions: (B, 3, H, W) of any length; targets: (B, 3, H, W) unit vectors, 0 where unknown."""
        known = (targets != 0).any(1)
        # in fp64: near 0° the arc cosine loses half of the digits
        given, wanted = (normalize(each.movedim(1, -1)[known].double(), dim=1) for each in (predictions, targets))
        angles = (given * wanted).sum(1).clamp(-1, 1).acos().rad2deg()
        self.sum += float(angles.sum())  # NaN stays NaN
        bins = (angles.nan_to_num() * (self.BINS / 180)).long().clamp(max=self.BINS - 1)
        self.histogram += torch.bincount(bins, minlength=self.BINS).cpu()
        self.below += torch.stack([(angles < limit).sum() for limit in self.LIMITS]).cpu()

    def measured(self) -> dict[str, float]:
        """Angles in degrees, fractions in [0, 1]."""
        pixels = int(self.histogram.sum())
        if not (pixels and math.isfinite(self.sum)):
            return _nothing(*NORMALS)
        values = (self.sum / pixels, self._median(pixels), *(self.below / pixels).tolist())
        return dict(zip(NORMALS, values, strict=True))

    def _median(self, pixels: int) -> float:
        """The mean of the two middle values, each taken for the centre of its bin."""
        upto = self.histogram.cumsum(0)
        middle = torch.tensor([(pixels - 1) // 2, pixels // 2])  # ranks from 0
        return float((torch.searchsorted(upto, middle, right=True) + 0.5).mean()) * 180 / self.BINS


DEPTH = ("abs_error", "rel_error")
NORMALS = ("mean_angle", "median_angle", "within_11", "within_22", "within_30")


def _nothing(*names: str) -> dict[str, float]:
    return dict.fromkeys(names, math.nan)
