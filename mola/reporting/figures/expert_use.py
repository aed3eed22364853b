"""How evenly the experts are used, layer by layer: 1, all alike; 0, one alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mola.reporting.figures._source import Source
from mola.reporting.figures._style import COLUMN, FAINT, Styles, integer_ticks, legend, panels

NEEDS = "a method that routes among adapters, and probes.routing in the configuration"


def data(source: Source) -> pd.DataFrame:
    """A row per method and adapted layer, from input to output."""
    lines = []
    for label, analysis in source.analyses.items():
        routing = analysis.get("routing", {})
        by_task = [np.mean(weights, axis=0) for weights in routing.get("weights", {}).values()]
        for depth, (layer, sizes) in enumerate(routing.get("sizes", {}).items(), 1):
            if by_task and len(sizes) == len(by_task[0]) > 1:
                even = entropy(np.mean(by_task, axis=0) * np.asarray(sizes))
                line = {"method": label, "depth": depth, "layer": layer, "entropy": even}
                lines.append({**line, "seed": source.suite.seeds[0]})
    return pd.DataFrame(lines)


def entropy(use: Sequence[float] | np.ndarray) -> float:
    """−Σ p log p / log E of p = use / Σ use; NaN where nothing is used at all.

    use: (E,) of E > 1 experts: their mean weight over tasks times ‖ΔW_e‖, the size of what they add to the layer.
    """
    total = float(np.sum(use))
    shares = [float(u) / total for u in use if u > 0] if total > 0 else []
    return -sum(p * math.log(p) for p in shares) / math.log(len(use)) if shares else math.nan


def draw(frame: pd.DataFrame, styles: Styles) -> Figure:
    """A line per method."""
    figure, (ax,), _ = panels(1, 1, COLUMN, 2.0)
    for label, part in frame.groupby("method", sort=False):
        ax.plot(part["depth"], part["entropy"], **styles[str(label)].line(len(part)))
    ax.set(xlabel="adapted layer, from input to output", ylabel="entropy of use (of log E)", ylim=(-0.03, 1.05))
    ax.axhline(1, color=FAINT, lw=0.6, zorder=0)
    integer_ticks(ax, frame["depth"])
    legend(figure, frame, styles)
    return figure
