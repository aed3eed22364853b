"""Learning curves: the losses and the score that selects, epoch by epoch."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from mola.metrics import averageable, overall
from mola.reporting.figures._looks import PAGE, Looks, band, legend, near_the_means, panels, whole_ticks
from mola.reporting.figures._numbers import estimate, number
from mola.reporting.figures._source import Source

NEEDS = "a finished run"
TRAIN, VALID = "training loss", "validation loss"


def data(source: Source) -> pd.DataFrame:
    """A row per method, measure and epoch. Losses are means over tasks, before balancing and without penalties."""
    rows = []
    for cell in source.cells:
        curves = [record["curve"] for record in cell.records.values()]
        for epoch in range(max(map(len, curves), default=0)):
            seen = [_measures(curve[epoch], source) for curve in curves if len(curve) > epoch]
            for name in seen[0]:
                values = [measured[name] for measured in seen]
                row = {"method": cell.label, "measure": name, "epoch": epoch + 1}
                rows.append({**row, **estimate(values, source.asked)})
    return pd.DataFrame(rows)


def draw(frame: pd.DataFrame, looks: Looks) -> Figure:
    """A panel per measure."""
    measures = list(frame["measure"].unique())
    figure, axes, _ = panels(len(measures), 3, PAGE, 2.1)
    for ax, measure in zip(axes, measures, strict=True):
        shown = frame[frame["measure"] == measure]
        for label, part in shown.groupby("method", sort=False):
            band(ax, part["epoch"], part, looks[str(label)])
        ax.set(title=measure, xlabel="epoch")
        near_the_means(ax, shown)
        whole_ticks(ax, shown["epoch"])
    legend(figure, frame, looks)
    return figure


def _measures(epoch: Mapping[str, Any], source: Source) -> dict[str, float]:
    train, valid, tasks = epoch["train"], epoch["valid"], source.tasks
    scores = {name: {metric: number(v) for metric, v in metrics.items()} for name, metrics in valid.items()}
    score, factor = ("validation score (%)", 100) if averageable(tasks) else ("validation score", 1)
    return {
        TRAIN: statistics.fmean(number(train[task.name]) for task in tasks if task.name in train),
        VALID: statistics.fmean(scores[task.name].get("loss", float("nan")) for task in tasks),
        score: factor * overall(scores, tasks),
    }
