"""The style of the figures: sizes for a column (3.3 in) or the page (7 in), text of 7 pt or more, colours that
colour-blind readers tell apart, and one style per row of the tables in all figures of a suite.
"""

from __future__ import annotations

from collections import Counter
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
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# inches
COLUMN, PAGE = 3.3, 7.0
# eight hues after Wong 2011 (Nature Methods 8:441), each with a contrast of 3 : 1 or more against white; for dark pages
# the same hues, lighter. No picture has more: see styles_of
COLOURS = ("#0173B2", "#B87400", "#018A64", "#B35CA3", "#C44E00", "#2B8FC7", "#9E6B38", "#666666")
ON_DARK = ("#4BA8E8", "#F0A930", "#35C79A", "#E39AD6", "#FF8A50", "#8CCBF2", "#D3A676", "#A9AEB5")
# how far the first row of a hue is darkened, and the last one lightened
DARKEST, LIGHTEST = 0.4, 0.2
# a number of them that shares no factor with that of the colours
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)))
TEXT = {"font.size": 7.5, "axes.titlesize": 8, "axes.labelsize": 7.5, "xtick.labelsize": 7, "ytick.labelsize": 7}
TEXT |= {"legend.fontsize": 7, "legend.title_fontsize": 7}
REPEATABLE = {"svg.hashsalt": "mola", "svg.fonttype": "path", "path.simplify": True}
FAINT = "#8A8A8A"


@dataclass(frozen=True)
class Style:
    """Colour, marker and line of one row."""

    colour: str
    marker: str
    dash: Any

    def line(self, points: int = 1) -> dict[str, Any]:
        """For a line through so many points; of many not all are marked."""
        line = {"color": self.colour, "marker": self.marker, "linestyle": self.dash, "lw": 1.1, "ms": 3, "mew": 0}
        return {**line, "markevery": -(-points // 8)}


Styles = Mapping[str, Style]


def slots_of(labels: Sequence[str], groups: Sequence[str | None] = ()) -> Mapping[str, int]:
    """Label → its place in COLOURS. A colour says one thing: up to eight rows have one each; more have that of their
    heading in the tables, and from the eighth heading on the last one.
    """
    headings = dict.fromkeys(groups or [None] * len(labels))
    names = labels if len(labels) <= len(COLOURS) else list(headings)
    keys = labels if len(labels) <= len(COLOURS) else groups or [None] * len(labels)
    return {label: min(names.index(key), len(COLOURS) - 1) for label, key in zip(labels, keys, strict=True)}


def styles_of(labels: Sequence[str], groups: Sequence[str | None] = ()) -> Styles:
    """By a label's place in the suite and its heading. Rows of one hue differ in shade and marker.

    groups: the heading of every label; empty: none has one.
    """
    slots = slots_of(labels, groups)
    alike = Counter(slots.values())
    styles: dict[str, Style] = {}
    places: Counter[int] = Counter()
    for number, (label, slot) in enumerate(slots.items()):
        place, rows = places[slot], alike[slot]
        places[slot] += 1
        shade = _shade(COLOURS[slot], place / (rows - 1)) if rows > 1 else COLOURS[slot]
        styles[label] = Style(shade, MARKERS[number % len(MARKERS)], DASHES[place % len(DASHES)])
    return styles


def _shade(colour: str, part: float) -> str:
    """The colour darkened at 0, lightened at 1, and evenly in between."""
    towards = part * (DARKEST + LIGHTEST) - DARKEST
    other = np.zeros(3) if towards < 0 else np.ones(3)
    red, green, blue = (1 - abs(towards)) * np.array(to_rgb(colour)) + abs(towards) * other
    return str(to_hex((float(red), float(green), float(blue))))


@contextmanager
def theme() -> Iterator[None]:
    """matplotlib set up for drawing and saving."""
    parameters = {**sns.axes_style("ticks"), **sns.plotting_context("paper"), **TEXT, **REPEATABLE}
    with mpl.rc_context({**parameters, "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6}):
        yield


def panels(
    number: int, columns: int, width: float, height: float, **shared: Any
) -> tuple[Figure, list[Axes], list[Axes]]:
    """A grid of panels of one height (inches): (figure, the panels, those in the first column)."""
    columns = max(1, min(columns, number))
    rows = -(-number // columns)
    figure = Figure(figsize=(width, rows * height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **shared)
    for unused in grid.flat[number:]:
        unused.remove()
    axes = list(grid.flat[:number])
    for panel in axes:
        sns.despine(ax=panel)
    return figure, axes, axes[::columns]


def with_seeds(label: str, n: int, asked: int) -> str:
    """A label that says so where seeds are missing."""
    return label if n == asked else f"{label} † {n}/{asked} seeds"


def legend(figure: Figure, frame: pd.DataFrame, styles: Styles, by: str = "method", lines: bool = True) -> None:
    """Below all panels, one entry per row of the tables; a row without any run is named too."""
    handles = []
    for label, part in frame.groupby(by, sort=False):
        name = with_seeds(str(label), int(part["n"].min()), int(part["asked"].max())) if "asked" in part else str(label)
        line = styles[str(label)].line() | ({} if lines else {"linestyle": ""})
        handles.append(Line2D([], [], label=name, **line))
    width = figure.get_size_inches()[0]
    longest = max(len(str(handle.get_label())) for handle in handles)
    fitting = max(1, int(width / (0.42 + 0.056 * longest)))
    rows = -(-len(handles) // fitting)
    columns, height = -(-len(handles) // rows), 0.135 * rows + 0.08
    figure.set_size_inches(width, figure.get_size_inches()[1] + height)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, handlelength=2.2)


def band(axes: Axes, x: Iterable[float], frame: pd.DataFrame, style: Style, **changes: Any) -> None:
    """A line with the interval around it, of three seeds or more: that of two is some nine times as wide as their
    distance, and hides all lines.
    """
    positions = list(x)
    axes.plot(positions, frame["mean"], **style.line(len(positions)) | changes)
    half = frame["ci95"].where(frame["n"] > 2)
    low, high = frame["mean"] - half, frame["mean"] + half
    axes.fill_between(positions, low, high, color=style.colour, alpha=0.13, lw=0)


def integer_ticks(axes: Axes, values: Iterable[float]) -> None:
    """Whole numbers on x, at most seven."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True, min_n_ticks=1))
    ends = list(values)
    if len(set(ends)) == 1:
        axes.set_xlim(ends[0] - 0.5, ends[0] + 0.5)


def limit_to_means(axes: Axes, frame: pd.DataFrame) -> None:
    """Let no wide interval flatten the differences of the means: y ends at most their span away from them."""
    low, high = frame["mean"].min(), frame["mean"].max()
    span = (high - low) or 1.0
    bottom, top = axes.get_ylim()
    if np.isfinite(low):
        axes.set_ylim(max(bottom, low - span), min(top, high + span))


def limit_around_zero(axes: Axes, frame: pd.DataFrame) -> None:
    """The same for differences, of which zero is always in the picture."""
    limit_to_means(axes, pd.DataFrame({"mean": [*frame["mean"], 0.0]}))
    bottom, top = axes.get_ylim()
    margin = 0.03 * (top - bottom)
    axes.set_ylim(min(bottom, -margin), max(top, margin))


def needs_log(values: Sequence[float]) -> bool:
    """Whether numbers are positive and span more than a decade, so that their axis should be logarithmic."""
    finite = [v for v in values if np.isfinite(v)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) > 10


def staircase(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points as the corners of a staircase."""
    corners = list(points[:1])
    for (_, before), (x, y) in pairwise(points):
        corners += [(x, before), (x, y)]
    return corners
