"""Gradient conflict: how the tasks' gradients stand to each other on the weights that they share, over training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mola.reporting.figures._grams import Matrix, condition_number, cosine, magnitude_similarity
from mola.reporting.figures._looks import FAINT, PAGE, Looks, legend, panels, whole_ticks, wide
from mola.reporting.figures._source import Source

Places = Callable[[Mapping[str, Matrix]], Mapping[str, Matrix]]  # Gram matrices by stage → by place
NEEDS = "a method with shared weights, and watch.gradients in the configuration"
MEASURES = {
    "cosine": ("cosine", cosine),
    "magnitude_similarity": ("magnitude similarity", magnitude_similarity),
    "condition_number": ("condition number", condition_number),
}


def data(source: Source) -> pd.DataFrame:
    """A row per method and epoch: means over batches of the first seed's run, on all shared weights together."""
    return measured(source, lambda gram: {"all": sum(gram.values(), np.zeros(()))})


def draw(frame: pd.DataFrame, looks: Looks) -> Figure:
    """A panel per measure."""
    figure, axes, _ = panels(len(MEASURES), 3, PAGE, 2.1)
    for ax, (name, (title, _)) in zip(axes, MEASURES.items(), strict=True):
        for label, part in frame.groupby("method", sort=False):
            ax.plot(part["epoch"], part[name], **looks[str(label)].line)
        ax.set(title=title, xlabel="epoch")
        if name == "cosine":
            ax.axhline(0, color=FAINT, lw=0.6, zorder=0)
        if name == "condition_number" and wide(list(frame[name])):
            ax.set_yscale("log")
        whole_ticks(ax, frame["epoch"])
    legend(figure, frame, looks)
    return figure


def measured(source: Source, places: Places) -> pd.DataFrame:
    """The measures of every method and epoch at the places that ``places`` makes of the stages."""
    rows = []
    for label, told in source.analyses.items():
        for epoch in told.get("gradients", {}).get("epochs", []):
            batches = [places({stage: np.asarray(g, float) for stage, g in b.items()}) for b in epoch["grams"]]
            for place in batches[0] if batches else ():
                row = {"method": label, "epoch": epoch["epoch"], "place": place}
                found = {name: _mean(of(b[place]) for b in batches) for name, (_, of) in MEASURES.items()}
                rows.append({**row, **found, "batches": len(batches), "seed": source.suite.seeds[0]})
    return pd.DataFrame(rows)


def _mean(values: Iterable[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return sum(finite) / len(finite) if finite else float("nan")
