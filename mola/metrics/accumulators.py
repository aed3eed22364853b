"""What collects the predictions of a task over a whole split, batch by batch."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from mola.metrics import dense, of
from mola.metrics.classes import log_odds
from mola.metrics.kinds import KINDS
from mola.types import Task

OneLabel = tuple[NDArray[np.float64], NDArray[np.bool_]]  # scores, and whether the label is there


def accumulator(task: Task) -> Accumulator:
    """An empty accumulator for a task of any kind."""
    kind: type[Accumulator] = getattr(sys.modules[__name__], KINDS[task.kind].accumulator)
    return kind(task)


class Accumulator(ABC):
    """The metrics of one task over a split that comes in batches, in any order and of any sizes."""

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """A batch on any device: ``Output.predictions`` and ``Batch.y`` of the task, see :mod:`mola.types`."""

    @abstractmethod
    def usable(self) -> bool:
        """Whether something counted, and metrics of it mean something."""

    def compute(self) -> dict[str, float]:
        """The task's metrics over all batches. NaN where a prediction was not finite, and where nothing counted; also
        where the targets lack what a metric needs.
        """
        usable = self.usable()
        return {metric.name: float(metric.compute(self)) if usable else math.nan for metric in of(self.task)}


class Labels(Accumulator):
    """One confusion matrix over all labelled samples or pixels.

    torchmetrics' matrix is not used: in deterministic mode it takes 8·K² bytes a pixel.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.counts = torch.zeros(task.outputs, task.outputs, dtype=torch.int64)
        self.finite = True

    @property
    def confusion(self) -> Tensor:
        """(K, K) in fp64, rows: target."""
        return self.counts.double()

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """predictions: (B, K, …) scores; targets: (B, …) int64, −1 unlabelled."""
        classes, labelled = self.task.outputs, targets >= 0
        pairs = (classes * targets + predictions.argmax(1))[labelled]
        self.counts += torch.bincount(pairs, minlength=classes**2).view(classes, classes).cpu()
        # the argmax of a diverged model would look like a guess
        self.finite &= bool(predictions.isfinite().all())

    def usable(self) -> bool:
        """All predictions are finite."""
        return self.finite and bool(self.counts.any())


class Classes(Labels):
    """Also the scores of all N samples, (N, K): the exact area under a curve needs them."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.predictions: list[Tensor] = []
        self.targets: list[Tensor] = []

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """predictions: (B_t, K) scores before the softmax; targets: (B_t,) int64, −1 unlabelled."""
        super().update(predictions, targets)
        labelled = targets >= 0
        self.predictions.append(predictions.detach()[labelled].float().cpu())
        self.targets.append(targets[labelled].cpu())

    def one_by_one(self) -> Iterator[OneLabel]:
        """Each class against the rest: (N,) log-odds of it, and (N,) whether it is the class."""
        targets = torch.cat(self.targets)
        for k, odds in enumerate(log_odds(torch.cat(self.predictions)).T.numpy()):
            yield odds, (targets == k).numpy()


class Multilabel(Accumulator):
    """The scores and targets of all N samples, (N, K) each: areas need them."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.predictions: list[Tensor] = []
        self.targets: list[Tensor] = []

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """predictions: (B_t, K) scores before the sigmoid; targets: (B_t, K) of 0 and 1, NaN or −1 unknown."""
        self.predictions.append(predictions.detach().double().cpu())
        self.targets.append(targets.cpu())

    def usable(self) -> bool:
        """A label is known, and all predictions are finite."""
        known = any(bool((targets >= 0).any()) for targets in self.targets)
        return known and all(bool(predictions.isfinite().all()) for predictions in self.predictions)

    def one_by_one(self) -> Iterator[OneLabel]:
        """Each label on the samples for which it is known: (N_k,) scores, which are its log-odds, and (N_k,) whether it
        is there.
        """
        for scores, targets in zip(torch.cat(self.predictions).T, torch.cat(self.targets).T, strict=True):
            known = targets >= 0
            yield scores[known].numpy(), (targets[known] > 0.5).numpy()


class Regression(Accumulator):
    """The known targets of all N samples, (N,), and the errors there, in their unit and in fp64."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.parts: list[tuple[Tensor, Tensor]] = []

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """predictions: (B_t, 1), standardised; targets: (B_t,) or (B_t, 1), NaN unknown."""
        given, true = predictions.detach().flatten().double().cpu(), targets.flatten().double().cpu()
        known = ~true.isnan()
        self.parts.append((true[known], (given * self.task.std + self.task.mean - true)[known]))

    def usable(self) -> bool:
        """A target is known, and all predictions there are finite."""
        return bool(len(self.known)) and bool(self.errors.isfinite().all())

    @property
    def known(self) -> Tensor:
        """(N,) targets."""
        return torch.cat([known for known, _ in self.parts]) if self.parts else torch.zeros(0)

    @property
    def errors(self) -> Tensor:
        """(N,) prediction minus target."""
        return torch.cat([errors for _, errors in self.parts]) if self.parts else torch.zeros(0)


class Depth(Accumulator):
    """Sums of |p − d| in metres, of |p − d|/d, and the number of pixels of known depth d."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.sums = torch.zeros(3, dtype=torch.float64)

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """predictions and targets: (B, 1, H, W) metres, targets 0 where unknown."""
        known = targets != 0
        depth = targets[known].double()
        error = (predictions[known].double() - depth).abs()
        self.sums += torch.stack([error.sum(), (error / depth).sum(), known.sum()]).cpu()

    def usable(self) -> bool:
        """A depth is known."""
        return bool(self.sums[2])


class Normals(Accumulator):
    """Angles between predicted and true normals, in degrees, over the pixels of known normal.

    histogram: of bins of 0.001°, so that a median is exact to half of that. A zero prediction is 90° off, as in the
    loss.
    """

    BINS = 180_000

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.histogram = torch.zeros(self.BINS, dtype=torch.int64)
        self.below = torch.zeros(len(dense.LIMITS), dtype=torch.int64)
        self.sum = 0.0

    @property
    def pixels(self) -> int:
        """The number of pixels of known normal."""
        return int(self.histogram.sum())

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """predictions: (B, 3, H, W) of any length; targets: (B, 3, H, W) unit vectors, 0 where unknown."""
        known = (targets != 0).any(1)
        # in fp64: near 0° the arc cosine loses half of the digits
        given, true = (normalize(each.movedim(1, -1)[known].double(), dim=1) for each in (predictions, targets))
        angles = (given * true).sum(1).clamp(-1, 1).acos().rad2deg()
        self.sum += float(angles.sum())  # NaN stays NaN
        bins = (angles.nan_to_num() * (self.BINS / 180)).long().clamp(max=self.BINS - 1)
        self.histogram += torch.bincount(bins, minlength=self.BINS).cpu()
        self.below += torch.stack([(angles < limit).sum() for limit in dense.LIMITS]).cpu()

    def usable(self) -> bool:
        """A normal is known, and all predictions are finite."""
        return bool(self.pixels) and math.isfinite(self.sum)
