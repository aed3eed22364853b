"""Gradient conflict: how the tasks' gradients stand to each other on the weights that they share, over training."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mola.reporting.figures._gram_measures import Floats, condition_number, cosine, magnitude_similarity
from mola.reporting.figures._source import Source
from mola.reporting.figures._style import FAINT, PAGE, Styles, integer_ticks, legend, needs_log, panels

# Gram matrices by stage → by place
Places = Callable[[Mapping[str, Floats]], Mapping[str, Floats]]
NEEDS = "a method with shared weights, and probes.gradients in the configuration"
MEASURES = {measure.__name__: measure for measure in (cosine, magnitude_similarity, condition_number)}


def data(source: Source) -> pd.DataFrame:
    """A row per method and epoch: means over batches of the first seed's run, on all shared weights together."""
    return measured(source, lambda stages: {"all": np.sum([*stages.values()], axis=0)})


def draw(frame: pd.DataFrame, styles: Styles) -> Figure:
    """A panel per measure."""
    figure, axes, _ = panels(len(MEASURES), 3, PAGE, 2.1)
    for ax, name in zip(axes, MEASURES, strict=True):
        draw_measure(ax, frame, name, styles)
        ax.set(title=name.replace("_", " "), xlabel="epoch")
    legend(figure, frame, styles)
    return figure


def draw_measure(ax: Axes, frame: pd.DataFrame, name: str, styles: Styles) -> None:
    """A line per method over the epochs."""
    for label, part in frame.groupby("method", sort=False):
        ax.plot(part["epoch"], part[name], **styles[str(label)].line(len(part)))
    if name == "cosine":
        ax.axhline(0, color=FAINT, lw=0.6, zorder=0)
    if name == "condition_number" and needs_log(list(frame[name])):
        ax.set_yscale("log")
        ax.minorticks_off()
    integer_ticks(ax, frame["epoch"])


def measured(source: Source, places: Places) -> pd.DataFrame:
    """The measures of every method and epoch at the places that ``places`` makes of the stages, means over batches."""
    frames = []
    for label, analysis in source.analyses.items():
        epochs = [epoch for epoch in analysis.get("gradients", {}).get("epochs", []) if epoch["grams"]]
        if not epochs:
            continue
        # (epochs, batches, T, T) each
        stages = {
            stage: np.array([[batch[stage] for batch in epoch["grams"]] for epoch in epochs], float)
            for stage in epochs[0]["grams"][0]
        }
        for place, grams in places(stages).items():
            frame = pd.DataFrame({"method": label, "epoch": [epoch["epoch"] for epoch in epochs], "place": place})
            for name, measure in MEASURES.items():
                # of the batches that have one
                frame[name] = pd.DataFrame(measure(grams)).mean(axis=1)
            frames.append(frame.assign(batches=grams.shape[1], seed=source.suite.seeds[0]))
    return pd.concat(frames) if frames else pd.DataFrame()
