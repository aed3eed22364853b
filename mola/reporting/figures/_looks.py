"""How figures look: sizes for a column (3.3 in) or the page (7 in), text of 7 pt or more, colours that colour-blind
readers tell apart, and one look per row of the tables in all figures of a suite.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

COLUMN, PAGE = 3.3, 7.0  # inches
# seaborn's "colorblind" (after Wong 2011, Nature Methods 8:441) without yellow and pink, which are faint on white
COLOURS = ("#0173B2", "#DE8F05", "#029E73", "#D55E00", "#CC78BC", "#56B4E9", "#CA9161", "#6E6E6E")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")  # as many as no multiple of the colours
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
TEXT = {"font.size": 7.5, "axes.titlesize": 8, "axes.labelsize": 7.5, "xtick.labelsize": 7, "ytick.labelsize": 7}
TEXT |= {"legend.fontsize": 7, "legend.title_fontsize": 7}
REPEATABLE = {"svg.hashsalt": "mola", "svg.fonttype": "path", "path.simplify": True}
FAINT = "#8A8A8A"


@dataclass(frozen=True)
class Look:
    """Of one row."""

    colour: str
    marker: str
    dash: Any

    def line(self, points: int = 1) -> dict[str, Any]:
        """For a line through so many points; of many not all are marked."""
        told = {"color": self.colour, "marker": self.marker, "linestyle": self.dash, "lw": 1.1, "ms": 3, "mew": 0}
        return {**told, "markevery": -(-points // 8)}


Looks = Mapping[str, Look]


def looks(labels: Sequence[str]) -> Looks:
    """By a label's place in the suite. Colour and marker together differ for 88 labels."""
    return {
        label: Look(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], DASHES[i // len(COLOURS) % len(DASHES)])
        for i, label in enumerate(labels)
    }


@contextmanager
def styled() -> Iterator[None]:
    """matplotlib set up for drawing and saving."""
    theme = {**sns.axes_style("ticks"), **sns.plotting_context("paper"), **TEXT, **REPEATABLE}
    with mpl.rc_context({**theme, "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6}):
        yield


def panels(
    number: int, columns: int, width: float, height: float, **shared: Any
) -> tuple[Figure, list[Axes], list[Axes]]:
    """A grid of panels of one height (inches): (figure, the panels, those in the first column)."""
    columns = max(1, min(columns, number))
    rows = -(-number // columns)
    figure = Figure(figsize=(width, rows * height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **shared)
    for axes in grid.flat[number:]:
        axes.remove()
    used = list(grid.flat[:number])
    for axes in used:
        sns.despine(ax=axes)
    return figure, used, used[::columns]


def marked(label: str, n: int, asked: int) -> str:
    """A label that tells when seeds are missing."""
    return label if n == asked else f"{label} † {n}/{asked} seeds"


def legend(figure: Figure, frame: pd.DataFrame, styles: Looks, by: str = "method", lines: bool = True) -> None:
    """Below all panels, one entry per row of the tables; a row without any run is named too."""
    handles = []
    for label, part in frame.groupby(by, sort=False):
        name = marked(str(label), int(part["n"].min()), int(part["asked"].max())) if "asked" in part else str(label)
        style = styles[str(label)].line() | ({} if lines else {"linestyle": ""})
        handles.append(Line2D([], [], label=name, **style))
    width = figure.get_size_inches()[0]
    longest = max(len(str(handle.get_label())) for handle in handles)
    fitting = max(1, int(width / (0.42 + 0.056 * longest)))
    rows = -(-len(handles) // fitting)
    columns, height = -(-len(handles) // rows), 0.135 * rows + 0.08
    figure.set_size_inches(width, figure.get_size_inches()[1] + height)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, handlelength=2.2)


def band(axes: Axes, x: Iterable[float], frame: pd.DataFrame, look: Look, **changes: Any) -> None:
    """A line with the interval around it, of three seeds or more: that of two is some nine times as wide as their
    distance, and hides all lines.
    """
    where = list(x)
    axes.plot(where, frame["mean"], **look.line(len(where)) | changes)
    half = frame["ci95"].where(frame["n"] > 2)
    low, high = frame["mean"] - half, frame["mean"] + half
    axes.fill_between(where, low, high, color=look.colour, alpha=0.13, lw=0)


def whole_ticks(axes: Axes, values: Iterable[float]) -> None:
    """Whole numbers on x, at most seven."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=1))
    ends = list(values)
    if len(set(ends)) == 1:
        axes.set_xlim(ends[0] - 0.5, ends[0] + 0.5)


def near_the_means(axes: Axes, frame: pd.DataFrame) -> None:
    """Let no interval of few seeds flatten what is told apart: y ends the means' span beyond them."""
    low, high = frame["mean"].min(), frame["mean"].max()
    room = (high - low) or 1.0
    bottom, top = axes.get_ylim()
    if np.isfinite(low):
        axes.set_ylim(max(bottom, low - room), min(top, high + room))


def wide(values: Sequence[float]) -> bool:
    """Whether positive numbers ask for a logarithmic axis."""
    finite = [v for v in values if np.isfinite(v)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) > 10


def rising(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points as the corners of a staircase."""
    corners = list(points[:1])
    for (_, before), (x, y) in pairwise(points):
        corners += [(x, before), (x, y)]
    return corners
