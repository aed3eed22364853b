"""Optimisation history: what the trials of each study reached on valid, and the best so far."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from mola.reporting.figures._source import Source
from mola.reporting.figures._style import COLUMN, Styles, integer_ticks, legend, panels

NEEDS = "a finished study of mola tune"


def data(source: Source) -> pd.DataFrame:
    """A row per method and trial: ``state`` (complete, pruned or failed), ``value`` and ``best`` so far."""
    columns = ["trial", "state", "value", "best"]
    frames = [study[columns].assign(method=label) for label, study in source.studies("history.csv").items()]
    return pd.concat(frames)[["method", *columns]] if frames else pd.DataFrame()


def draw(frame: pd.DataFrame, styles: Styles) -> Figure:
    """A staircase per method over its trials; failed and pruned ones are crosses at the foot."""
    figure, (ax,), _ = panels(1, 1, COLUMN, 2.3)
    for label, part in frame.groupby("method", sort=False):
        style = styles[str(label)]
        ax.step(part["trial"] + 1, part["best"], where="post", color=style.colour, ls=style.dash, lw=1.2)
        done = part[part["state"] == "complete"]
        ax.plot(done["trial"] + 1, done["value"], style.marker, color=style.colour, ms=3, alpha=0.5, mew=0)
    foot = ax.get_ylim()[0]
    for label, part in frame[frame["state"] != "complete"].groupby("method", sort=False):
        ax.plot(part["trial"] + 1, [foot] * len(part), "x", color=styles[str(label)].colour, ms=4, clip_on=False)
    ax.set(xlabel="finished trial", ylabel="validation score")
    integer_ticks(ax, frame["trial"] + 1)
    legend(figure, frame, styles)
    return figure
