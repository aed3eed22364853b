"""Metrics of classification. A new one is an entry of ``METRICS``; it reads what ``accumulators.Classes`` collects."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from mola.metrics.metric import FRACTION, Metric

if TYPE_CHECKING:
    from torch import Tensor

    from mola.metrics.accumulators import Classes, Labels, Multilabel


def accuracy(totals: Labels) -> Tensor:
    """The fraction that is classified rightly."""
    return totals.confusion.diagonal().sum() / totals.confusion.sum()


def balanced_accuracy(totals: Labels) -> Tensor:
    """Mean recall over the classes that occur in the targets (torchmetrics' counts an absent class as 0)."""
    support = totals.confusion.sum(1)
    recall = totals.confusion.diagonal() / support.clamp(min=1)
    return recall[support > 0].mean()


def auc(totals: Classes | Multilabel) -> float:
    """Mean area under the ROC curve over the labels, or over the classes one against the rest, that have both positives
    and negatives; NaN if none has. Exact, by ranks of the log-odds, ties averaged.
    """
    from scipy.stats import rankdata

    areas = []
    for odds, positive in totals.one_by_one():
        support = int(positive.sum())
        if 0 < support < len(positive):
            order = rankdata(odds)[positive].sum() - support * (support + 1) / 2
            areas.append(float(order) / (support * (len(positive) - support)))
    return statistics.fmean(areas) if areas else math.nan


def log_odds(scores: Tensor) -> Tensor:
    """(N, K) scores before the softmax → log p_k − log(1 − p_k), in fp64: where a model is sure, probabilities round to
    1 and would tie.
    """
    scores = scores.double()
    best = scores.argmax(1, keepdim=True)
    total = scores.logsumexp(1, keepdim=True)
    # log(1 − p_k) from p_k, except for the best class, whose p_k may be near 1
    others = total + (-(scores - total).exp()).log1p()
    return scores - others.scatter(1, best, scores.scatter(1, best, -math.inf).logsumexp(1, keepdim=True))


AUC = Metric("auc", FRACTION, auc, needs="positives and negatives")
METRICS = (
    Metric("accuracy", FRACTION, accuracy),
    Metric("balanced_accuracy", FRACTION, balanced_accuracy),
    AUC,
)
