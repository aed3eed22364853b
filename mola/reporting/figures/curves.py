"""Learning curves: the losses and the score that selects, epoch by epoch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from mola.experiment.record import Epoch
from mola.metrics import averageable, overall
from mola.reporting.figures._source import Source, estimate
from mola.reporting.figures._style import PAGE, Styles, band, integer_ticks, legend, limit_to_means, panels
from mola.types import Task

NEEDS = "a finished run"
TRAIN, VALID = "training loss", "validation loss"


def data(source: Source) -> pd.DataFrame:
    """A row per method, measure and epoch. Losses are means over tasks, unbalanced, without auxiliary losses."""
    lines = []
    for row in source.rows:
        curves = [record.curve for record in row.records.values()]
        for epoch in range(max(map(len, curves), default=0)):
            runs = [_measures(curve[epoch], source.tasks) for curve in curves if len(curve) > epoch]
            for name in runs[0]:
                line = {"method": row.label, "measure": name, "epoch": epoch + 1}
                lines.append({**line, **estimate([run[name] for run in runs], source.asked)})
    return pd.DataFrame(lines)


def draw(frame: pd.DataFrame, styles: Styles) -> Figure:
    """A panel per measure."""
    measures = frame.groupby("measure", sort=False)
    figure, axes, _ = panels(len(measures), 3, PAGE, 2.1)
    for ax, (measure, shown) in zip(axes, measures, strict=True):
        for label, part in shown.groupby("method", sort=False):
            band(ax, part["epoch"], part, styles[str(label)])
        ax.set(title=str(measure), xlabel="epoch")
        limit_to_means(ax, shown)
        integer_ticks(ax, shown["epoch"])
    legend(figure, frame, styles)
    return figure


def _measures(epoch: Epoch, tasks: Sequence[Task]) -> dict[str, float]:
    score, factor = ("validation score (%)", 100) if averageable(tasks) else ("validation score", 1)
    return {
        TRAIN: statistics.fmean(epoch.train[task.name] for task in tasks if task.name in epoch.train),
        VALID: statistics.fmean(epoch.valid[task.name].get("loss", math.nan) for task in tasks),
        score: factor * overall(epoch.valid, tasks),
    }
