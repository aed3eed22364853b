"""Learning curves of a benchmark as a table of numbers."""

from __future__ import annotations

import pandas as pd

from mola.metrics import averageable, overall
from mola.reporting.results.read import Results


def curves(results: Results) -> pd.DataFrame:
    """epoch × method: what selection looks at on valid (``mola.metrics.overall``), mean over seeds; in percent where it
    is a mean of fractions.
    """
    factor = 100 if averageable(results.tasks) else 1
    series = {}
    for row in results.rows:
        runs = [
            [factor * overall(epoch.valid, results.tasks) for epoch in record.curve] for record in row.records.values()
        ]
        series[row.label] = pd.DataFrame(runs).mean() if runs else pd.Series(dtype=float)
    frame = pd.DataFrame(series)
    frame.insert(0, "epoch", frame.index + 1)
    return frame
