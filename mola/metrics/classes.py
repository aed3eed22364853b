"""Metrics of classification."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_auroc, multiclass_confusion_matrix

from mola.metrics.base import Accumulator
from mola.types import Task


class Classes(Accumulator):
    """Keeps the scores of all N samples, (N, K): the exact area under a curve needs them."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.predictions: list[Tensor] = []
        self.targets: list[Tensor] = []

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """predictions: (B_t, K) scores before the softmax; targets: (B_t,) int64."""
        self.predictions.append(predictions.float().cpu())
        self.targets.append(targets.cpu())

    def measured(self) -> dict[str, float]:
        """See :func:`classification`."""
        return classification(torch.cat(self.predictions), torch.cat(self.targets))


def classification(predictions: Tensor, targets: Tensor) -> dict[str, float]:
    """``accuracy``, ``balanced_accuracy`` and ``auc`` in [0, 1], of (N, K) scores before the softmax and (N,) int64.

    balanced_accuracy: mean recall over the classes that occur in the targets (torchmetrics' macro accuracy counts an
                       absent class as 0).
    auc: mean one-against-rest area under the ROC curve over the classes that have both positives and negatives; NaN if
         none has.
    """
    if not predictions.isfinite().all():  # a diverged model knows nothing; its argmax would look like a guess
        return {"accuracy": float("nan"), "balanced_accuracy": float("nan"), "auc": float("nan")}
    classes = predictions.shape[1]
    confusion = multiclass_confusion_matrix(predictions, targets, num_classes=classes).double()  # (K, K), rows: target
    support = confusion.sum(1)
    recall = confusion.diagonal() / support.clamp(min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of absent classes, which are left out below
        areas = multiclass_auroc(predictions.float().softmax(1), targets, num_classes=classes, average="none")
    rankable = (support > 0) & (support < len(targets))
    return {
        "accuracy": float(confusion.diagonal().sum() / support.sum()),
        "balanced_accuracy": float(recall[support > 0].mean()),
        "auc": float(torch.as_tensor(areas)[rankable].double().mean()),
    }
