"""The first metric of every task on test, with intervals."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from mola.metrics import ranking, undefined
from mola.reporting.figures._source import Source, estimate
from mola.reporting.figures._style import FAINT, PAGE, Styles, panels, with_seeds
from mola.reporting.tables.layout import ARROWS

NEEDS = "a finished run"


def data(source: Source) -> pd.DataFrame:
    """A row per method and task that the test split can rank; ``metric`` with its unit."""
    lines = []
    for task in source.tasks:
        metric = ranking(task)
        records = [record for row in source.rows for record in row.records.values()]
        if any(metric in undefined(task, record.test[task.name]) for record in records):
            continue
        title = f"{metric.label} {ARROWS[metric.better]}"
        for row in source.rows:
            values = [metric.unit.factor * record.test[task.name][metric.name] for record in row.records.values()]
            line = {"method": row.label, "task": task.name, "metric": title}
            lines.append({**line, **estimate(values, source.asked)})
    frame = pd.DataFrame(lines)
    return frame if lines and (frame["n"] > 0).any() else frame.head(0)


def draw(frame: pd.DataFrame, styles: Styles) -> Figure:
    """Bars from zero, a panel per task."""
    tasks, rows = frame.groupby("task", sort=False), frame["method"].nunique()
    figure, axes, first = panels(len(tasks), 4, PAGE, 0.62 + 0.15 * rows, sharey=True)
    for ax, (task, part) in zip(axes, tasks, strict=True):
        # the first row on top
        shown = part.iloc[::-1]
        colours = [styles[label].colour for label in shown["method"]]
        faded = [1.0 if n == asked else 0.45 for n, asked in zip(shown["n"], shown["asked"], strict=True)]
        bars = ax.barh(range(rows), shown["mean"].fillna(0), color=colours, height=0.72)
        for bar, alpha in zip(bars, faded, strict=True):
            bar.set_alpha(alpha)
        ax.errorbar(shown["mean"], range(rows), xerr=shown["ci95"], fmt="none", ecolor="#222222", elinewidth=0.8)
        names = [with_seeds(*row) for row in zip(shown["method"], shown["n"], shown["asked"], strict=True)]
        ax.set_yticks(range(rows), names)
        ax.set(title=str(task), xlabel=shown["metric"].iloc[0])
        low = 0 if (shown["mean"].fillna(0) >= 0).all() else None
        ax.set_xlim(low, min(ax.get_xlim()[1], 100) if "%" in shown["metric"].iloc[0] else None)
        ax.xaxis.grid(True, color=FAINT, alpha=0.3, lw=0.5)
        ax.set_axisbelow(True)
        ax.tick_params(left=ax in first)
    return figure
