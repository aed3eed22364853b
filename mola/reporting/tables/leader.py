"""The best row of a benchmark in words, for a suite that has no answers to choose among."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mola.metrics import averageable
from mola.reporting.results.read import Results
from mola.reporting.results.records import Row
from mola.reporting.statistics.paired import differences
from mola.reporting.tables.answer import best_of, told_apart
from mola.reporting.tables.significance import paired


@dataclass(frozen=True)
class Leader:
    """The row that is best on valid, and how far it is from another one on test."""

    label: str
    text: str


def leader(results: Results, base: str | None) -> Leader | None:
    """Chosen on valid, so that the choice sees nothing of test, and compared on test with the row ``base`` by seed, or
    where it is that row, with the second. None where no row has all its runs.
    """
    rows = [row for row in results.rows if row.complete and row.records]
    if not rows:
        return None
    best = best_of(rows, results.tasks)
    sentence = f"{best.label} has the best mean score on valid, of {len(rows)} rows."
    others = [row for row in rows if row is not best]
    against = next((row for row in others if row.label == base), None)
    against = against or (best_of(others, results.tasks) if others else None)
    return Leader(best.label, f"{sentence} {_compared(best, against, results)}".strip())


def _compared(best: Row, against: Row | None, results: Results) -> str:
    if against is None:
        return ""
    (gap,) = differences([paired(best.records, against.records, results.tasks)])
    if gap is None or not np.isfinite(gap.low):
        return f"One seed says nothing about its difference from {against.label}."
    unit = "points" if averageable(results.tasks) else "%, near enough,"
    amount = f"{gap.mean:+.2f} {unit} [{gap.low:+.2f}, {gap.high:+.2f}]".replace("-", "−")
    beyond = "" if told_apart(gap) else ": no difference beyond chance"
    return f"On test it differs from {against.label} by {amount}{beyond}."
