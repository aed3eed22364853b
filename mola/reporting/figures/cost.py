"""What a row gains against what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from mola.reporting.figures._source import Source, estimate, headline
from mola.reporting.figures._style import FAINT, PAGE, Styles, legend, limit_to_means, needs_log, panels, staircase
from mola.reporting.tables import costs

NEEDS = "finished runs of two methods"
# of the tables' costs, with the titles of their axes
TITLES = {
    "gflops_per_sample": "GFLOPs per image, forward",
    "parameters_inference": "parameters of a prediction (M)",
    "milliseconds_per_step": "ms per training step",
}
DIGITS = 9
COSTS = {cost.key: cost for cost in costs.COSTS}


def data(source: Source) -> pd.DataFrame:
    """A row per method; ``pareto_<cost>``: whether no complete row costs as little and gains more. ``gain`` names the
    number in ``mean``.
    """
    gain, values = headline(source)
    lines = []
    for row in source.rows:
        means = {name: e.mean if (e := costs.mean_cost(row, COSTS[name])) else math.nan for name in TITLES}
        lines.append({"method": row.label, "gain": gain, **estimate(values[row.label], source.asked), **means})
    frame = pd.DataFrame(lines)
    if (frame["n"] > 0).sum() < 2:
        return frame.head(0)
    # a row that lacks seeds is never called best
    complete = frame["mean"].where(frame["n"] == frame["asked"])
    for name in TITLES:
        frame[f"pareto_{name}"] = pareto(list(frame[name]), list(complete))
    return frame


def pareto(prices: Sequence[float], gains: Sequence[float]) -> list[bool]:
    """Which points no other point beats: none that gains as much for less, or more for as little. NaN never does.

    Numbers that differ by rounding alone are equal.
    """
    points = [(round(price, DIGITS), round(gain, DIGITS)) for price, gain in zip(prices, gains, strict=True)]

    def beaten(cost: float, gain: float) -> bool:
        return any(c <= cost and g >= gain and (c, g) != (cost, gain) for c, g in points)

    return [math.isfinite(c) and math.isfinite(g) and not beaten(c, g) for c, g in points]


def draw(frame: pd.DataFrame, styles: Styles) -> Figure:
    """A panel per cost. The front is drawn as a staircase, its points have a black rim."""
    figure, axes, _ = panels(len(TITLES), 3, PAGE, 2.2, sharey=True)
    for ax, (name, title) in zip(axes, TITLES.items(), strict=True):
        if frame["gain"].iloc[0].startswith("Δ"):
            ax.axhline(0, color=FAINT, lw=0.6)
        best = frame[frame[f"pareto_{name}"]].sort_values(name)
        corners = staircase(list(zip(best[name], best["mean"], strict=True)))
        ax.plot(*zip(*corners, strict=True), color="#333333", lw=0.8)
        for row in frame.dropna(subset=["mean"]).to_dict("records"):
            style, x, y = styles[row["method"]], row[name], row["mean"]
            edge = "black" if row[f"pareto_{name}"] else style.colour
            face = style.colour if row["n"] == row["asked"] else "white"
            ax.errorbar(x, y, yerr=row["ci95"], fmt="none", ecolor=style.colour, elinewidth=0.8)
            ax.plot(x, y, style.marker, ms=5.5, mfc=face, mec=edge, mew=1, zorder=3)
        if needs_log(list(frame[name])):
            ax.set_xscale("log")
        ax.set_xlabel(title)
    limit_to_means(axes[0], frame)
    axes[0].set_ylabel(frame["gain"].iloc[0])
    legend(figure, frame, styles, lines=False)
    return figure
