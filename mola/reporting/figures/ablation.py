"""Rows of one method that differ in one option: rank, number of experts, weight of the TwD loss, …"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from mola.reporting.figures._looks import FAINT, PAGE, Looks, legend, near_the_means, panels, wide
from mola.reporting.figures._numbers import estimate, headline
from mola.reporting.figures._source import Source

NEEDS = "two rows of one method that differ in nothing but one number among its options"
ONE_PER_TASK = "experts"  # null: as many as tasks


def data(source: Source) -> pd.DataFrame:
    """A row per method, option and value. ``series`` numbers the sets of rows that differ in nothing else."""
    gain, values = headline(source)
    settings = {cell.label: next(iter(cell.records.values()))["config"] for cell in source.cells if cell.records}
    options = {label: _options(told, len(source.tasks)) for label, told in settings.items()}
    groups: dict[str, list[str]] = {}
    for label, told in settings.items():
        for option in options[label]:
            groups.setdefault(_but(told, option), []).append(label)
    rows: list[dict[str, Any]] = []
    for key, labels in groups.items():
        option = json.loads(key)["option"]
        if len({options[label][option] for label in labels}) < 2:
            continue
        series = 1 + max((row["series"] for row in rows), default=0)
        for label in sorted(labels, key=lambda label: options[label][option]):
            row = {"series": series, "method": settings[label]["method"], "row": label, "option": option}
            row |= {"value": options[label][option], "gain": gain}
            rows.append({**row, **estimate(values[label], source.asked)})
    return pd.DataFrame(rows)


def draw(frame: pd.DataFrame, looks: Looks) -> Figure:
    """A panel per series."""
    series = list(frame["series"].unique())
    figure, axes, first = panels(len(series), 3, PAGE * min(3, len(series)) / 3, 2.1)
    for ax, number in zip(axes, series, strict=True):
        part = frame[frame["series"] == number]
        ax.plot(part["value"], part["mean"], color=FAINT, lw=0.8, zorder=0)
        for row in part.to_dict("records"):
            look = looks[row["row"]]
            face = look.colour if row["n"] == row["asked"] else "white"
            style: dict[str, Any] = {"fmt": look.marker, "color": look.colour, "mfc": face, "ms": 5, "lw": 0.9}
            ax.errorbar(row["value"], row["mean"], yerr=row["ci95"], **style)
        if wide(list(part["value"])):
            ax.set_xscale("log", base=2)
        ax.set_xticks(sorted(set(part["value"])), [f"{v:g}" for v in sorted(set(part["value"]))])
        ax.minorticks_off()
        near_the_means(ax, part)
        ax.margins(x=0.15)
        ax.set(title=part["method"].iloc[0], xlabel=part["option"].iloc[0].replace("twd", "weight of the TwD loss"))
    for ax in first:
        ax.set_ylabel(frame["gain"].iloc[0])
    legend(figure, frame, looks, by="row", lines=False)
    return figure


def _options(told: Mapping[str, Any], tasks: int) -> dict[str, float]:
    """The method's options that are numbers."""
    options = dict(told["method_options"])
    if ONE_PER_TASK in options and options[ONE_PER_TASK] is None:
        options[ONE_PER_TASK] = tasks
    return {name: v for name, v in options.items() if isinstance(v, int | float) and not isinstance(v, bool)}


def _but(told: Mapping[str, Any], option: str) -> str:
    """Everything a row was trained with but one option, as a key."""
    rest = {name: value for name, value in told["method_options"].items() if name != option}
    return json.dumps({**told, "method_options": rest, "option": option}, sort_keys=True)
