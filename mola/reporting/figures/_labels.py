"""Names at the ends of lines, in the place of a legend: they need no colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes

from mola.reporting.figures._style import FAINT, Styles, with_seeds

# inches: the height of a line of text, and what of a panel is above and below its axes
LINE, AROUND = 0.125, 0.65
# where names begin, in widths of the axes
START = 1.1


def zero_line(ax: Axes) -> None:
    """Where the row is that the others are compared with."""
    ax.axhline(0, color=FAINT, lw=0.9, zorder=0)


def labelled(ax: Axes, rows: Mapping[str, pd.DataFrame], styles: Styles, against: str, height: float) -> None:
    """Name every row to the right of the axes, joined with the end of its line, and the zero line too. To be called
    once the limits of y are set.

    rows:   by label, with the columns x, mean, n and asked. Of a row without any point there is the name alone.
    height: of the panel, in inches.
    """
    right = ax.get_xlim()[1]
    ends = [(against, right, 0.0, FAINT)]
    for label, row in rows.items():
        known = row.dropna(subset=["mean"])
        x, y = (known["x"].iloc[-1], known["mean"].iloc[-1]) if len(known) else (right, math.nan)
        name = with_seeds(label, int(row["n"].min()), int(row["asked"].max()))
        ends.append((name, float(x), float(y), styles[label].colour))
    bottom, top = ax.get_ylim()
    wished = [(y - bottom) / (top - bottom) if math.isfinite(y) else 0.0 for _, _, y, _ in ends]
    for (name, x, y, colour), place in zip(ends, spread_out(wished, LINE / (height - AROUND)), strict=True):
        ax.text(START, place, name, transform=ax.transAxes, va="center", fontsize=7)
        if math.isfinite(y):
            joint = {"arrowstyle": "-", "lw": 0.6, "color": colour, "shrinkA": 0, "shrinkB": 2}
            start = (START - 0.01, place)
            ax.annotate("", (x, y), start, textcoords="axes fraction", arrowprops=joint, annotation_clip=False)


def spread_out(wished: Sequence[float], gap: float) -> list[float]:
    """Places in [0, 1] that are at least ``gap`` apart, in the order of the wished ones and as near to them as can be
    (least squares). Closer together only where [0, 1] is too short for all.
    """
    order = sorted(range(len(wished)), key=wished.__getitem__)
    gap = min(gap, 1 / max(1, len(wished) - 1))
    # without the gaps the places need only not fall: those that would are pooled
    pools: list[tuple[float, int]] = []
    for rank, index in enumerate(order):
        mean, size = wished[index] - rank * gap, 1
        while pools and pools[-1][0] > mean:
            before, number = pools.pop()
            mean, size = (before * number + mean * size) / (number + size), number + size
        pools.append((mean, size))
    last = 1 - gap * (len(wished) - 1)
    level = [min(max(mean, 0.0), max(last, 0.0)) for mean, size in pools for _ in range(size)]
    places = dict(zip(order, (value + rank * gap for rank, value in enumerate(level)), strict=True))
    return [places[index] for index in range(len(wished))]
