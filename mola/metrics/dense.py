"""Metrics of dense tasks, over all pixels of a split. A new one is an entry of its kind's tuple.

Source: the nine metrics of NYUv2 in multi-task learning, as in MTAN (Liu et al. 2019, arXiv 1803.10704).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mola.metrics.classes import accuracy
from mola.metrics.metric import DEGREES, FRACTION, METRES, RATIO, Metric

if TYPE_CHECKING:
    from torch import Tensor

    from mola.metrics.accumulators import Labels, Normals

LIMITS = (11.25, 22.5, 30.0)  # degrees


def miou(totals: Labels) -> Tensor:
    """Mean intersection over union over the classes that occur in the targets."""
    hits, support = totals.confusion.diagonal(), totals.confusion.sum(1)
    union = (support + totals.confusion.sum(0) - hits).clamp(min=1)
    return (hits / union)[support > 0].mean()


def median_angle(totals: Normals) -> float:
    """The mean of the two middle values, each taken for the centre of its bin."""
    upto = totals.histogram.cumsum(0)
    ranks = ((totals.pixels - 1) // 2, totals.pixels // 2)  # from 0
    return (sum(int((upto <= rank).sum()) for rank in ranks) + 1) / 2 * 180 / len(upto)


SEGMENTATION = (
    Metric("miou", FRACTION, miou, title="mIoU"),
    Metric("pixel_accuracy", FRACTION, accuracy),
)
DEPTH = (
    Metric("abs_error", METRES, lambda totals: totals.sums[0] / totals.sums[2], "lower", "abs. error"),
    Metric("rel_error", RATIO, lambda totals: totals.sums[1] / totals.sums[2], "lower", "rel. error"),
)
NORMALS = (
    Metric("mean_angle", DEGREES, lambda totals: totals.sum / totals.pixels, "lower", "mean"),
    Metric("median_angle", DEGREES, median_angle, "lower", "median"),
    Metric("within_11", FRACTION, lambda totals: totals.below[0] / totals.pixels, title="within 11.25°"),
    Metric("within_22", FRACTION, lambda totals: totals.below[1] / totals.pixels, title="within 22.5°"),
    Metric("within_30", FRACTION, lambda totals: totals.below[2] / totals.pixels, title="within 30°"),
)
