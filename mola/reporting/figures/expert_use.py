"""How evenly the experts are used, layer by layer: 1, all alike; 0, one alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mola.reporting.figures._looks import COLUMN, FAINT, Looks, legend, panels, whole_ticks
from mola.reporting.figures._source import Source

NEEDS = "a method that routes among adapters, and watch.routing in the configuration"


def data(source: Source) -> pd.DataFrame:
    """A row per method and adapted layer, from input to output."""
    rows = []
    for label, told in source.analyses.items():
        routing = told.get("routing", {})
        by_task = [np.mean(weights, axis=0) for weights in routing.get("weights", {}).values()]
        for depth, (layer, sizes) in enumerate(routing.get("sizes", {}).items(), 1):
            if by_task and len(sizes) == len(by_task[0]) > 1:
                even = entropy(np.mean(by_task, axis=0) * np.asarray(sizes))
                row = {"method": label, "depth": depth, "layer": layer, "entropy": even}
                rows.append({**row, "seed": source.suite.seeds[0]})
    return pd.DataFrame(rows)


def entropy(use: Sequence[float] | np.ndarray) -> float:
    """−Σ p log p / log E of p = use / Σ use; NaN where nothing is used at all.

    use: (E,) of E > 1 experts: their mean weight over tasks times ‖ΔW_e‖, the size of what they add to the layer.
    """
    total = float(np.sum(use))
    shares = [float(u) / total for u in use if u > 0] if total > 0 else []
    return -sum(p * math.log(p) for p in shares) / math.log(len(use)) if shares else math.nan


def draw(frame: pd.DataFrame, looks: Looks) -> Figure:
    """A line per method."""
    figure, (ax,), _ = panels(1, 1, COLUMN, 2.0)
    for label, part in frame.groupby("method", sort=False):
        ax.plot(part["depth"], part["entropy"], **looks[str(label)].line(len(part)))
    ax.set(xlabel="adapted layer, from input to output", ylabel="entropy of use (of log E)", ylim=(-0.03, 1.05))
    ax.axhline(1, color=FAINT, lw=0.6, zorder=0)
    whole_ticks(ax, frame["depth"])
    legend(figure, frame, looks)
    return figure
