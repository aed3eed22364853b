"""The routing weights of single images, in the plane where they differ most, by task."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mola.reporting.figures._source import Source
from mola.reporting.figures._style import PAGE, Styles, legend, panels, styles_of

# a component with less of the variance than this is rounding, of another size on every machine
RESOLUTION = 1e-12
NEEDS = "a method that routes, and probes.routing in the configuration"


def data(source: Source) -> pd.DataFrame:
    """A row per method and validation image of the first seed's run. ``share_1``, ``share_2``: of the variance."""
    lines = []
    for label, analysis in source.analyses.items():
        weights = analysis.get("routing", {}).get("weights", {})
        # weights of one expert are all alike
        if not weights or np.shape(next(iter(weights.values())))[1] < 2:
            continue
        points, shares = plane(np.concatenate([np.asarray(images, float) for images in weights.values()]))
        tasks = [task for task, images in weights.items() for _ in images]
        for task, (x, y) in zip(tasks, points, strict=True):
            line = {"method": label, "task": task, "component_1": x, "component_2": y}
            lines.append({**line, "share_1": shares[0], "share_2": shares[1], "seed": source.suite.seeds[0]})
    return pd.DataFrame(lines)


def plane(weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Principal components: the first two coordinates (N, 2), and their shares of the variance. The largest loading of
    each is positive, so that a picture is not a mirror image of another run's. Two experts have one component, the
    second is 0.

    weights: (N, E) that sum to 1: they vary in E − 1 directions at most.
    """
    centred = weights - weights.mean(0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    flips = np.sign(directions[np.arange(len(directions)), np.abs(directions).argmax(1)])
    # "+ 0" makes 0 of −0
    points = np.round(centred @ (directions * flips[:, None]).T, 6) + 0
    total = float((sizes**2).sum())
    shares = [float(size**2) / total if total else 0.0 for size in sizes]
    if weights.shape[1] == 2 or len(sizes) < 2 or shares[1] < RESOLUTION:
        points, shares = np.column_stack([points[:, 0], np.zeros(len(points))]), [shares[0], 0.0]
    return points[:, :2], (shares[0], shares[1])


def draw(frame: pd.DataFrame, styles: Styles) -> Figure:
    """A panel per method, a style per task. Where there is one component, each task is drawn at another height."""
    methods, tasks = frame.groupby("method", sort=False), list(frame["task"].unique())
    of_tasks = styles_of(tasks)
    figure, axes, _ = panels(len(methods), 3, PAGE, 2.1)
    for ax, (method, part) in zip(axes, methods, strict=True):
        first, second = part["share_1"].iloc[0], part["share_2"].iloc[0]
        for height, task in enumerate(reversed(tasks)):
            points, style = part[part["task"] == task], of_tasks[task]
            y = points["component_2"] if second > 0 else np.full(len(points), height)
            ax.plot(points["component_1"], y, style.marker, color=style.colour, ms=3.5, alpha=0.6, mew=0)
        ax.set(title=str(method), xlabel=f"component 1 ({first:.0%})")
        ax.set_ylabel(f"component 2 ({second:.0%})" if second > 0 else "")
        if not second > 0:
            ax.set_yticks([])
    legend(figure, frame, of_tasks, by="task", lines=False)
    return figure
