"""Routing map: how much each task uses each expert, on validation images at the selected epoch."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from mola.reporting.figures._source import Source
from mola.reporting.figures._style import PAGE, Styles, panels

NEEDS = "a method that routes, and probes.routing in the configuration"


def data(source: Source) -> pd.DataFrame:
    """A row per method, task and expert: the mean weight, and over how many images of the first seed's run."""
    lines = []
    for label, analysis in source.analyses.items():
        for task, weights in analysis.get("routing", {}).get("weights", {}).items():
            for expert, mean in enumerate(np.mean(weights, axis=0)):
                line = {"method": label, "task": task, "expert": expert, "weight": mean}
                lines.append({**line, "images": len(weights), "seed": source.suite.seeds[0]})
    return pd.DataFrame(lines)


def draw(frame: pd.DataFrame, styles: Styles) -> Figure:
    """A map per method, all with one scale."""
    methods, tasks = frame.groupby("method", sort=False), frame["task"].nunique()
    figure, axes, first = panels(len(methods), 3, PAGE, 0.62 + 0.19 * tasks)
    for ax, (method, part) in zip(axes, methods, strict=True):
        table = part.pivot_table(index="task", columns="expert", values="weight", sort=False)
        numbers = table.shape[1] <= 6
        sns.heatmap(
            table, ax=ax, vmin=0, vmax=frame["weight"].max(), cmap="cividis_r", annot=numbers, fmt=".2f", cbar=False,
            annot_kws={"fontsize": 7}, linewidths=0.5, linecolor="white",
        )  # fmt: skip
        ax.set(title=str(method), xlabel="expert", ylabel="")
        ax.tick_params(length=0, labelleft=ax in first, rotation=0)
    figure.colorbar(axes[0].collections[0], ax=axes, label="mean weight", aspect=12, fraction=0.03)
    return figure
