"""Critical-difference diagram: mean ranks over benchmarks, and which of them can't be told apart."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from mola.reporting.figures._looks import PAGE, Looks
from mola.reporting.figures._source import Source
from mola.reporting.tables.ranking import critical_of

NEEDS = "five benchmarks or more whose runs are all there, and Friedman's test to see a difference"


def suite_data(sources: Sequence[Source]) -> pd.DataFrame:
    """A row per method: mean rank (1 is best), the distance that ranks must have, and ``p <method>``, Nemenyi's, for
    each pair. Empty where the diagram's conditions (``mola.reporting.statistics.critical``) don't hold.
    """
    found = critical_of({source.benchmark: source.results for source in sources})
    if found.reason is not None:
        return pd.DataFrame()
    frame = pd.DataFrame({"method": found.methods, "mean_rank": found.ranks})
    frame["benchmarks"], frame["distance"] = len(found.benchmarks), found.distance
    pairs = pd.DataFrame(found.nemenyi, columns=[f"p {method}" for method in found.methods])
    return pd.concat([frame, pairs], axis=1)


def draw(frame: pd.DataFrame, looks: Looks) -> Figure:
    """A bar joins methods that can't be told apart."""
    import scikit_posthocs  # seconds

    methods = list(frame["method"])
    figure = Figure(figsize=(PAGE, 0.9 + 0.13 * len(methods)), layout="constrained")
    axes = figure.subplots()
    table = pd.DataFrame(frame[[f"p {m}" for m in methods]].to_numpy(), index=methods, columns=methods)
    scikit_posthocs.critical_difference_diagram(
        pd.Series(frame["mean_rank"].to_numpy(), index=methods), table, ax=axes,
        color_palette={method: looks[method].colour for method in methods},
        text_h_margin=0.02 * len(methods), label_props={"fontsize": 7},
        crossbar_props={"color": "black", "linewidth": 2},
    )  # fmt: skip
    for text in axes.texts:
        text.set_color("black")
    distance, benchmarks = frame["distance"].iloc[0], frame["benchmarks"].iloc[0]
    axes.set_title(f"mean rank over {benchmarks} benchmarks; critical difference {distance:.2f}", pad=12)
    return figure
