"""Gain against the length of training: how far a row is from the row that it is compared with, after as many steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from mola.experiment.record import Record
from mola.metrics import averageable, overall
from mola.reporting.figures._labels import labelled, zero_line
from mola.reporting.figures._source import Source, estimate, row_groups
from mola.reporting.figures._style import PAGE, Styles, band, integer_ticks, limit_around_zero, panels
from mola.reporting.results.records import pairs
from mola.types import Task

NEEDS = (
    "a row to compare with (compare_to or reference), and finished runs of it and another row, of two epochs or more"
)
# inches, of a panel
HEIGHT = 2.3


def data(source: Source) -> pd.DataFrame:
    """A row per method and number of training steps, at the end of every epoch: the paired difference from the row
    ``against``, of the score on valid that ``gain`` names. ``panel``: where the row is drawn.
    """
    base, unit = source.results.base(source.against), "validation score"
    unit += ", points" if averageable(source.tasks) else " × 100"
    lines: list[dict[str, Any]] = []
    for panel, rows in row_groups(source):
        for row in rows:
            gains = _gains(pairs(row.records, base), source.tasks)
            # a row without any pair is named all the same
            for steps, values in gains.items() or [(0, [])]:
                line = {"panel": panel, "method": row.label, "steps": steps, "against": source.against}
                lines.append({**line, "gain": f"difference ({unit})", **estimate(values, source.asked)})
    frame = pd.DataFrame(lines)
    return frame if len({line["steps"] for line in lines if line["n"]}) > 1 else frame.head(0)


def draw(frame: pd.DataFrame, styles: Styles) -> Figure:
    """A line with its interval and its name per row; a panel for six rows, or per heading of the tables."""
    groups = frame.groupby("panel", sort=False)
    figure, axes, first = panels(len(groups), 2, PAGE if len(groups) > 1 else PAGE * 0.6, HEIGHT)
    for ax, (name, part) in zip(axes, groups, strict=True):
        rows = {str(label): row.assign(x=row["steps"]) for label, row in part.groupby("method", sort=False)}
        for label, row in rows.items():
            pale = {} if (row["n"] == row["asked"]).all() else {"alpha": 0.45}
            band(ax, row["x"], row, styles[label], **pale)
        limit_around_zero(ax, part)
        zero_line(ax)
        integer_ticks(ax, part["steps"])
        labelled(ax, rows, styles, part["against"].iloc[0], HEIGHT)
        ax.set(title=str(name) if len(groups) > 1 else "", xlabel="training steps")
    for ax in first:
        ax.set_ylabel(frame["gain"].iloc[0])
    figure.suptitle(f"Gain over {frame['against'].iloc[0]} by the length of training", fontsize=8)
    return figure


def _gains(runs: Sequence[tuple[Record, Record]], tasks: Sequence[Task]) -> Mapping[int, list[float]]:
    """Steps → the differences of the pairs that have a score there, both."""
    gains: dict[int, list[float]] = {}
    for ours, theirs in runs:
        scores = _scores(theirs, tasks)
        for steps, score in _scores(ours, tasks).items():
            if steps in scores:
                gains.setdefault(steps, []).append(100 * (score - scores[steps]))
    return dict(sorted(gains.items()))


def _scores(record: Record, tasks: Sequence[Task]) -> Mapping[int, float]:
    """Training steps from the start → what selection looks at on valid."""
    steps = accumulate(epoch.steps for epoch in record.curve)
    return {step: overall(epoch.valid, tasks) for step, epoch in zip(steps, record.curve, strict=True)}
