"""Gain against the amount of data: how far a row is from the row that it is compared with, at several numbers of
training images. The number of an entry is what its tasks really have, as a mean over the tasks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mola import registry
from mola.metrics import averageable
from mola.reporting.figures._labels import labelled, zero_line
from mola.reporting.figures._source import ALL, Source, estimate, row_groups
from mola.reporting.figures._style import PAGE, Style, Styles, limit_around_zero, panels
from mola.reporting.tables.significance import paired
from mola.sections import Settings
from mola.types import BadInput

NEEDS = (
    "a row to compare with (compare_to or reference), and one benchmark in three entries or more that differ in their "
    "number of training images (train, limit, or all of them), each in another one"
)
FEWEST = 3
# inches, of a panel
HEIGHT = 2.3
# of a decade, between the bars of two rows: they would hide each other
APART = 0.022


def suite_data(sources: Sequence[Source]) -> pd.DataFrame:
    """A row per benchmark, number of images and method: the paired difference from the row ``against``, of the score
    on test that ``gain`` names. ``entry`` is the benchmark's label.
    """
    lines: list[dict[str, Any]] = []
    for title, entries in _series(sources):
        of_series = [line for images, source in entries.items() for line in _differences(title, images, source)]
        if len({line["images"] for line in of_series if line["n"]}) >= FEWEST:
            lines += of_series
    return pd.DataFrame(lines)


def draw(frame: pd.DataFrame, styles: Styles) -> Figure:
    """A panel per benchmark and group of rows; a row is a line with its name, a little apart from the others on x."""
    groups = frame.groupby(["benchmark", "panel"], sort=False)
    figure, axes, first = panels(len(groups), 2, PAGE if len(groups) > 1 else PAGE * 0.6, HEIGHT)
    for ax, ((benchmark, panel), part) in zip(axes, groups, strict=True):
        rows = {}
        for place, (label, row) in enumerate(part.groupby("method", sort=False)):
            middle = (part["method"].nunique() - 1) / 2
            rows[str(label)] = row.assign(x=row["images"] * 10 ** (APART * (place - middle)))
            _line(ax, rows[str(label)], styles[str(label)])
        images = sorted(set(part["images"]))
        ax.set_xscale("log")
        ax.set_xticks(images, [str(n) for n in images])
        ax.minorticks_off()
        limit_around_zero(ax, part)
        zero_line(ax)
        labelled(ax, rows, styles, part["against"].iloc[0], HEIGHT)
        ax.set(title=benchmark if panel == ALL else f"{benchmark}: {panel}", xlabel="training images of a task")
        if ax in first:
            ax.set_ylabel(part["gain"].iloc[0])
    figure.suptitle(f"Gain over {frame['against'].iloc[0]} by the amount of training data", fontsize=8)
    return figure


def _line(ax: Axes, row: pd.DataFrame, style: Style) -> None:
    """A row's line, with bars of three seeds or more, as in bands; markers are hollow where seeds are missing."""
    half = row["ci95"].where(row["n"] > 2)
    ax.errorbar(row["x"], row["mean"], yerr=half, fmt="none", ecolor=style.colour, elinewidth=0.8, alpha=0.7)
    ax.plot(row["x"], row["mean"], **style.line() | {"marker": ""})
    for whole in (True, False):
        shown = row["mean"].where((row["n"] == row["asked"]) == whole)
        face = style.colour if whole else "white"
        ax.plot(row["x"], shown, style.marker, ms=3.6, color=style.colour, mfc=face, mew=0.8)


def _series(sources: Sequence[Source]) -> Iterator[tuple[str, Mapping[int, Source]]]:
    """Title, and number of images → entry, of the entries that differ in that number and in how they are trained; those
    of one benchmark with other options or another backbone are a series of their own. One with a number twice is none.
    """
    grouped: dict[str, list[tuple[int, Source]]] = {}
    for source in sources:
        entry = source.suite.benchmarks[source.benchmark]
        settings = source.suite.settings(source.benchmark, source.suite.rows(source.benchmark)[0])
        options = dict(settings.benchmark_options)
        named = [n for n in (options.pop("train"), options.pop("limit")) if n is not None]
        if images := _images(settings, source.suite.data) or min(named, default=None):
            key = json.dumps([settings.benchmark, options, entry.backbone, entry.balancer], sort_keys=True, default=str)
            grouped.setdefault(key, []).append((images, source))
    # an entry alone is no series whose title another one's has to differ from
    grouped = {key: entries for key, entries in grouped.items() if len(entries) > 1}
    names = [json.loads(key)[0] for key in grouped]
    for name, entries in zip(names, grouped.values(), strict=True):
        by_amount = dict(sorted(entries, key=lambda pair: pair[0]))
        if len(by_amount) == len(entries):
            others = names.count(name) > 1
            yield f"{name}, from {entries[0][1].benchmark}" if others else name, by_amount


def _images(settings: Settings, data: Path) -> int | None:
    """The training images of a task: a mean over the tasks, as ``train`` may be more than some of them have. None where
    the data have to be prepared to be counted, and are not.
    """
    benchmark = registry.create("benchmarks", settings.benchmark, data, options=settings.benchmark_options)
    try:
        return round(fmean(benchmark.sizes("train").values()))
    except BadInput:
        return None


def _differences(title: str, images: int, source: Source) -> Iterator[dict[str, Any]]:
    base = source.results.base(source.against)
    unit = "average on test, points" if averageable(source.tasks) else "mean of ±log(first metric) on test, × 100"
    for panel, rows in row_groups(source):
        for row in rows:
            line = {"benchmark": title, "panel": panel, "images": images, "entry": source.benchmark}
            line |= {"method": row.label, "against": source.against, "gain": f"difference ({unit})"}
            yield {**line, **estimate(list(paired(row.records, base, source.tasks)), source.asked)}
