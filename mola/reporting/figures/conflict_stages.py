"""Gradient conflict stage by stage of the backbone."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from mola.reporting.figures._source import Source
from mola.reporting.figures._style import PAGE, Styles, legend, panels
from mola.reporting.figures.conflict import MEASURES, draw_measure, measured

NEEDS = "a method with shared weights, and probes.gradients in the configuration"
# panels in a row that stay readable; the CSV has every stage
COLUMNS = 6


def data(source: Source) -> pd.DataFrame:
    """A row per method, epoch and stage: means over batches of the first seed's run."""
    frame = measured(source, dict)
    # one stage: the other figure shows it
    return frame if frame.empty or frame["place"].nunique() > 1 else frame.head(0)


def draw(frame: pd.DataFrame, styles: Styles) -> Figure:
    """A row of panels per measure, a column per stage; of many stages some, evenly chosen."""
    places = list(frame["place"].unique())
    if len(places) > COLUMNS:
        places = [places[round(i * (len(places) - 1) / (COLUMNS - 1))] for i in range(COLUMNS)]
    figure, axes, _ = panels(len(MEASURES) * len(places), len(places), PAGE, 1.35, sharex=True, sharey="row")
    for i, name in enumerate(MEASURES):
        for j, place in enumerate(places):
            ax = axes[i * len(places) + j]
            draw_measure(ax, frame[frame["place"] == place], name, styles)
            ax.set(
                title=place if i == 0 else "",
                xlabel="epoch" if i == len(MEASURES) - 1 else "",
                ylabel=name.replace("_", "\n") if j == 0 else "",
            )
    legend(figure, frame, styles)
    return figure
