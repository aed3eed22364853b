"""Gradient conflict stage by stage of the backbone."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from mola.reporting.figures._looks import FAINT, PAGE, Looks, legend, panels, whole_ticks, wide
from mola.reporting.figures._source import Source
from mola.reporting.figures.conflict import MEASURES, measured

NEEDS = "a method with shared weights, and watch.gradients in the configuration"
COLUMNS = 6  # panels in a row that stay readable; the CSV has every stage


def data(source: Source) -> pd.DataFrame:
    """A row per method, epoch and stage: means over batches of the first seed's run."""
    frame = measured(source, dict)
    return frame if frame.empty or frame["place"].nunique() > 1 else frame.head(0)  # one stage: the other figure


def draw(frame: pd.DataFrame, looks: Looks) -> Figure:
    """A row of panels per measure, a column per stage; of many stages some, evenly chosen."""
    places = list(frame["place"].unique())
    if len(places) > COLUMNS:
        places = [places[round(i * (len(places) - 1) / (COLUMNS - 1))] for i in range(COLUMNS)]
    figure, axes, _ = panels(len(MEASURES) * len(places), len(places), PAGE, 1.35, sharex=True, sharey="row")
    for i, name in enumerate(MEASURES):
        for j, place in enumerate(places):
            ax, shown = axes[i * len(places) + j], frame[frame["place"] == place]
            for label, part in shown.groupby("method", sort=False):
                ax.plot(part["epoch"], part[name], **looks[str(label)].line(len(part)))
            if name == "cosine":
                ax.axhline(0, color=FAINT, lw=0.6, zorder=0)
            if name == "condition_number" and wide(list(frame[name])):
                ax.set_yscale("log")
                ax.minorticks_off()
            ax.set(
                title=place if i == 0 else "",
                xlabel="epoch" if i == len(MEASURES) - 1 else "",
                ylabel=name.replace("_", "\n") if j == 0 else "",
            )
            whole_ticks(ax, shown["epoch"])
    legend(figure, frame, looks)
    return figure
