"""Critical-difference diagram: mean ranks over benchmarks, and which of them can't be told apart."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from mola.reporting.figures._source import Source
from mola.reporting.figures._style import PAGE, Styles
from mola.reporting.tables.ranking import critical_of

NEEDS = "five benchmarks or more whose runs are all there, and Friedman's test to see a difference"


def suite_data(sources: Sequence[Source]) -> pd.DataFrame:
    """A row per method: mean rank (1 is best), the distance that ranks must have, and ``p <method>``, Nemenyi's, for
    each pair. Empty where the diagram's conditions (``mola.reporting.statistics.critical``) don't hold.
    """
    critical = critical_of({source.benchmark: source.results for source in sources})
    if critical.reason is not None:
        return pd.DataFrame()
    frame = pd.DataFrame({"method": critical.methods, "mean_rank": critical.ranks})
    frame["benchmarks"], frame["distance"] = len(critical.benchmarks), critical.distance
    pairs = pd.DataFrame(critical.nemenyi, columns=[f"p {method}" for method in critical.methods])
    return pd.concat([frame, pairs], axis=1)


def draw(frame: pd.DataFrame, styles: Styles) -> Figure:
    """A bar joins methods that can't be told apart."""
    # its import takes seconds
    import scikit_posthocs

    methods = list(frame["method"])
    figure = Figure(figsize=(PAGE, 0.9 + 0.13 * len(methods)), layout="constrained")
    axes = figure.subplots()
    table = pd.DataFrame(frame[[f"p {m}" for m in methods]].to_numpy(), index=methods, columns=methods)
    scikit_posthocs.critical_difference_diagram(
        pd.Series(frame["mean_rank"].to_numpy(), index=methods), table, ax=axes,
        color_palette={method: styles[method].colour for method in methods},
        text_h_margin=0.02 * len(methods), label_props={"fontsize": 7},
        crossbar_props={"color": "black", "linewidth": 2},
    )  # fmt: skip
    for text in axes.texts:
        text.set_color("black")
    distance, benchmarks = frame["distance"].iloc[0], frame["benchmarks"].iloc[0]
    axes.set_title(f"mean rank over {benchmarks} benchmarks; critical difference {distance:.2f}", pad=12)
    return figure
