"""Rows of one method that differ in one option: rank, number of experts, weight of the TwD loss, …"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from mola.reporting.figures._source import Source, estimate, headline
from mola.reporting.figures._style import FAINT, PAGE, Styles, legend, limit_to_means, needs_log, panels

NEEDS = "two rows of one method that differ in nothing but one number among its options"
# an option whose null means as many as tasks
ONE_PER_TASK = "experts"


def data(source: Source) -> pd.DataFrame:
    """A row per method, option and value. ``series`` numbers the sets of rows that differ in nothing else."""
    gain, values = headline(source)
    settings = {row.label: next(iter(row.records.values())).settings for row in source.rows if row.records}
    options = {label: _numbers(of_row, len(source.tasks)) for label, of_row in settings.items()}
    groups: dict[str, list[str]] = {}
    for label, of_row in settings.items():
        for option in options[label]:
            groups.setdefault(_without(of_row, option), []).append(label)
    lines: list[dict[str, Any]] = []
    for key, labels in groups.items():
        option = json.loads(key)["option"]
        if len({options[label][option] for label in labels}) < 2:
            continue
        series = 1 + max((line["series"] for line in lines), default=0)
        for label in sorted(labels, key=lambda label: options[label][option]):
            line = {"series": series, "method": settings[label]["method"], "row": label, "option": option}
            line |= {"value": options[label][option], "gain": gain}
            lines.append({**line, **estimate(values[label], source.asked)})
    return pd.DataFrame(lines)


def draw(frame: pd.DataFrame, styles: Styles) -> Figure:
    """A panel per series."""
    series = frame.groupby("series", sort=False)
    figure, axes, first = panels(len(series), 3, PAGE * min(3, len(series)) / 3, 2.1)
    for ax, (_, part) in zip(axes, series, strict=True):
        ax.plot(part["value"], part["mean"], color=FAINT, lw=0.8, zorder=0)
        for row in part.to_dict("records"):
            style = styles[row["row"]]
            face = style.colour if row["n"] == row["asked"] else "white"
            ax.errorbar(
                row["value"], row["mean"], yerr=row["ci95"],
                fmt=style.marker, color=style.colour, mfc=face, ms=5, lw=0.9,
            )  # fmt: skip
        if needs_log(list(part["value"])):
            ax.set_xscale("log", base=2)
        ax.set_xticks(sorted(set(part["value"])), [f"{v:g}" for v in sorted(set(part["value"]))])
        ax.minorticks_off()
        limit_to_means(ax, part)
        ax.margins(x=0.15)
        ax.set(title=part["method"].iloc[0], xlabel=part["option"].iloc[0].replace("twd", "weight of the TwD loss"))
    for ax in first:
        ax.set_ylabel(frame["gain"].iloc[0])
    legend(figure, frame, styles, by="row", lines=False)
    return figure


def _numbers(settings: Mapping[str, Any], tasks: int) -> dict[str, float]:
    """The method's options that are numbers."""
    options = dict(settings["method_options"])
    if ONE_PER_TASK in options and options[ONE_PER_TASK] is None:
        options[ONE_PER_TASK] = tasks
    return {name: v for name, v in options.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def _without(settings: Mapping[str, Any], option: str) -> str:
    """Everything a row was trained with but one option, as a key."""
    rest = {name: value for name, value in settings["method_options"].items() if name != option}
    return json.dumps({**settings, "method_options": rest, "option": option}, sort_keys=True)
