"""Is a row better than the row it is compared with? A table per benchmark, and one over all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mola.experiment.record import Record
from mola.metrics import averageable
from mola.reporting.results.read import Results
from mola.reporting.results.records import pairs, score, scores
from mola.reporting.statistics.across import probability_of_improvement
from mola.reporting.statistics.intervals import Floats
from mola.reporting.statistics.paired import EXHAUSTIVE, FLIPS, TESTABLE, Difference, differences, smallest
from mola.reporting.tables.layout import Column, Estimate, Table
from mola.types import Task

NOT_TESTABLE = "not testable"
INTERVAL = "95 % interval of the bootstrap (studentised)"
NO_BASE = "no row to compare with: compare_to and reference are null"


def tests_table(name: str, results: Results, base: str | None) -> Table:
    """Each row's paired difference from the row ``base``: mean, interval, p, corrected p, P(better)."""
    against, tasks = results.base(base), results.tasks
    # the row itself: nothing to test
    others = [{} if row.label == base else against for row in results.rows]
    rows = [(row.records, other) for row, other in zip(results.rows, others, strict=True)]
    gains = [paired(ours, theirs, tasks) for ours, theirs in rows]
    better = tuple(improvement([scores(ours, tasks)], [scores(theirs, tasks)]) for ours, theirs in rows)
    columns = (
        *difference_columns(differences(gains), f"difference from {base}"),
        Column("probability_of_improvement", "P(better)", better),
    )
    lines = [] if against else [f"no finished run of {base}: nothing to compare with" if base else NO_BASE]
    lines += limits(gains)
    caption = (
        f"{name}: difference of the {unit(tasks)} from {base or 'a row'} by seed, with the {INTERVAL}; "
        f"{meaning_of_p(gains)}; P(better): the chance that a run beats one of {base or 'it'}, ties count half."
    )
    return Table(
        f"{name}: tests", results.labels, columns, caption, tuple(lines), results.incomplete, results.groups,
        drafts=results.drafts,
    )  # fmt: skip


def paired(ours: Mapping[int, Record], theirs: Mapping[int, Record], tasks: Sequence[Task]) -> Floats:
    """(n,) differences of the scores of all seeds that both have, in the seeds' order."""
    return np.array([score(a, tasks) - score(b, tasks) for a, b in pairs(ours, theirs)])


def difference_columns(rows: Sequence[Difference | None], title: str) -> tuple[Column, ...]:
    """Mean with interval, p, Holm's p, and n."""
    means = tuple(Estimate(d.mean, n=d.n, ends=(d.low, d.high)) if d else None for d in rows)
    return (
        Column("difference", title, means, signed=True),
        Column("p", "p", tuple(_p(d.p) if d else None for d in rows), digits=4, interval=False),
        Column("p_holm", "p (Holm)", tuple(_p(d.holm) if d else None for d in rows), 4, interval=False),
        Column("pairs", "n", tuple(Estimate(d.n) if d else None for d in rows), 0, interval=False),
    )


def meaning_of_p(rows: Sequence[Floats]) -> str:
    """What p is, for these rows."""
    drawn = any(len(row) > EXHAUSTIVE for row in rows)
    how = f"from {FLIPS:,} sign patterns, drawn, where n > {EXHAUSTIVE}" if drawn else "over all sign patterns"
    family = sum(len(row) >= TESTABLE for row in rows)
    text = f"p: two-sided sign-flip test, {'' if drawn else 'exact, '}{how}"
    text += f"; Holm: corrected for the {family} tests here" if family else ""
    if any(0 < len(row) < TESTABLE for row in rows):
        text += f"; {NOT_TESTABLE}: below {TESTABLE} pairs no outcome has p < .05"
    return text


def limits(rows: Sequence[Floats]) -> list[str]:
    """That nothing here can be significant, whatever the runs say, where it is so."""
    least, needed = smallest(rows)
    if not needed or least <= 0.05:
        return []
    return [f"with so few seeds for so many rows no p (Holm) can be below {least:.3f}; {needed} seeds would do"]


def unit(tasks: Sequence[Task]) -> str:
    """What ``score`` is."""
    if averageable(tasks):
        return "average in points"
    return "mean over tasks of ±log(first metric), × 100 (near to percent, positive is better),"


def improvement(ours: Sequence[Floats], theirs: Sequence[Floats]) -> Estimate | None:
    """The chance that a run of one row beats one of another, of their scores (S,) on each benchmark; None without."""
    if not all(map(len, [*ours, *theirs])):
        return None
    mean, low, high = probability_of_improvement(ours, theirs)
    return Estimate(mean, n=min(map(len, [*ours, *theirs])), ends=(low, high))


def _p(p: float | None) -> Estimate:
    return Estimate(math.nan, words=NOT_TESTABLE) if p is None else Estimate(p)
