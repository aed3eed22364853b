"""Learning curves of a benchmark as a table of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from mola.metrics import averageable, overall
from mola.reporting.tables.layout import Results


def curves(results: Results) -> pd.DataFrame:
    """epoch × method: what selection looks at on valid (``mola.metrics.overall``), mean over seeds; in percent where it
    is a mean of fractions.
    """
    factor = 100 if averageable(results.tasks) else 1
    series = {}
    for cell in results.cells:
        runs = [
            [factor * overall(_numbers(epoch["valid"]), results.tasks) for epoch in record["curve"]]
            for record in cell.records.values()
        ]
        series[cell.label] = pd.DataFrame(runs).mean() if runs else pd.Series(dtype=float)
    frame = pd.DataFrame(series)
    frame.insert(0, "epoch", frame.index + 1)
    return frame


def _numbers(scores: Mapping[str, Mapping[str, float | None]]) -> dict[str, dict[str, float]]:
    """JSON has no NaN: it stands there as null."""
    return {task: {m: math.nan if v is None else v for m, v in metrics.items()} for task, metrics in scores.items()}
