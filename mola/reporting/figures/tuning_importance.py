"""Importance of the knobs: the share of each in the differences between a study's trials."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from mola.reporting.figures._source import Source
from mola.reporting.figures._style import PAGE, Styles, panels

NEEDS = "a finished study of mola tune whose trials differ"


def data(source: Source) -> pd.DataFrame:
    """A row per method and knob."""
    frames = [study.assign(method=label) for label, study in source.studies("importance.csv").items() if len(study)]
    return pd.concat(frames)[["method", "knob", "importance"]] if frames else pd.DataFrame()


def draw(frame: pd.DataFrame, styles: Styles) -> Figure:
    """A map, methods by knobs; empty where a method has no such knob."""
    table = frame.pivot_table(index="method", columns="knob", values="importance", sort=False)
    width = min(PAGE, 1.7 + 0.75 * table.shape[1])
    figure, (ax,), _ = panels(1, 1, width, 0.9 + 0.2 * len(table))
    sns.heatmap(
        table, ax=ax, vmin=0, vmax=1, cmap="cividis_r", annot=table.shape[1] <= 8, fmt=".2f", linewidths=0.5,
        annot_kws={"fontsize": 7}, cbar_kws={"label": "importance"},
    )  # fmt: skip
    ax.set(xlabel="", ylabel="")
    ax.set_xticklabels([name.get_text().replace(".", ".\n") for name in ax.get_xticklabels()], rotation=0)
    ax.tick_params(length=0)
    return figure
