"""The figure of gains: every row's mean with its interval on a line, drawn by the page itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from matplotlib.ticker import MaxNLocator

from mola.reporting.figures._source import Source, estimate, headline
from mola.reporting.report.places import Places

# what an axis keeps free at its ends, of its length
MARGIN = 0.04


@dataclass(frozen=True)
class Bar:
    """A row. Places are percent of the axis' length; start and end of the interval are None where it has none."""

    label: str
    link: str
    slot: int
    middle: float
    start: float | None
    end: float | None
    text: str
    rest: str
    complete: bool


@dataclass(frozen=True)
class Panel:
    """A benchmark: its bars under their headings, ticks as (place, text), and where 0 is, if it is in the picture."""

    benchmark: str
    title: str
    groups: Sequence[tuple[str | None, Sequence[Bar]]]
    ticks: Sequence[tuple[float, str]]
    zero: float | None


def panel(source: Source, places: Places) -> Panel | None:
    """The rows with runs; None where there is none. An interval that would flatten the differences is cut off."""
    title, values = headline(source)
    delta = title.startswith("Δ")
    rows = [row for row in source.rows if values[row.label] and not (delta and row.label == source.suite.reference)]
    known = {row.label: estimate(values[row.label], source.asked) for row in rows}
    rows = [row for row in rows if math.isfinite(known[row.label]["mean"])]
    if not rows:
        return None
    low, high = _limits([known[row.label] for row in rows], delta)

    def place(value: float) -> float:
        return round(100 * (min(max(value, low), high) - low) / (high - low), 2)

    bars = []
    for row in rows:
        mean, half = known[row.label]["mean"], known[row.label]["ci95"]
        start, end = (place(mean - half), place(mean + half)) if math.isfinite(half) else (None, None)
        text = f"{mean:{'+' if delta else ''}.2f}".replace("-", "−")
        rest = f"± {half:.2f}" if math.isfinite(half) else ""
        link, slot = places.runs(source.benchmark, row.label), places.slots[row.label]
        bars.append((row.group, Bar(row.label, link, slot, place(mean), start, end, text, rest, row.complete)))
    groups = [(heading, [bar for _, bar in some]) for heading, some in groupby(bars, key=lambda pair: pair[0])]
    ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    shown = [(place(tick), f"{tick:g}".replace("-", "−")) for tick in ticks]
    return Panel(source.benchmark, title, groups, shown, place(0.0) if low <= 0 <= high else None)


def _limits(known: Sequence[dict[str, float]], delta: bool) -> tuple[float, float]:
    """Ends of the axis: all means, 0 of differences, and intervals as far as the span of the means goes beyond them."""
    means = [value["mean"] for value in known] + [0.0] * delta
    least, most = min(means), max(means)
    span = most - least or 1.0
    halves = [value["ci95"] if math.isfinite(value["ci95"]) else 0.0 for value in known]
    ends = [value["mean"] + sign * half for value, half in zip(known, halves, strict=True) for sign in (-1, 1)]
    low, high = max(min([*ends, least]), least - span), min(max([*ends, most]), most + span)
    margin = MARGIN * (high - low or 1.0)
    return low - margin, high + margin
