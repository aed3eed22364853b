"""A table before it is written: estimates, in columns, with what a reader must know."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from mola.experiment.record import Record
from mola.reporting.results.records import Row
from mola.reporting.statistics import t_half_width
from mola.types import Direction

Mark = Literal["best", "second"]
ARROWS: dict[Direction, str] = {"higher": "↑", "lower": "↓"}


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds, with its 95 % t half-width or with the two ends of an interval; or words instead.

    mark: a sign behind it that a note explains; the CSV has none.
    """

    mean: float
    half_width: float = math.nan
    n: int = 1
    ends: tuple[float, float] | None = None
    words: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Column:
    """A column of numbers: an estimate per row, or None where there is nothing to show."""

    key: str  # in the CSV
    title: str
    estimates: tuple[Estimate | None, ...]
    digits: int = 2
    better: Direction | None = None  # None: no best is marked
    signed: bool = False
    interval: bool = True
    cited: bool = False  # not of these runs: kept apart from them


@dataclass(frozen=True)
class Table:
    """Rows of labels, columns of numbers, and what a reader must know.

    incomplete: rows that lack seeds: they are marked, and never best.
    groups:     each row's heading, rows of one group together; empty: no headings.
    asked:      number of seeds that a mean should be over. One over fewer shows its n, and is never best; 0: none does.
    csv_only:   columns that the CSV has behind the others, and no other form.
    drafts:     rows with runs of code that is in no commit: they are marked.
    first:      what the labels are.
    """

    title: str
    labels: tuple[str, ...]
    columns: tuple[Column, ...]
    caption: str
    notes: tuple[str, ...]
    incomplete: frozenset[str] = frozenset()
    groups: tuple[str | None, ...] = ()
    asked: int = 0
    csv_only: tuple[Column, ...] = ()
    drafts: frozenset[str] = frozenset()
    first: str = "method"

    def short(self, column: Column, row: int) -> bool:
        """Whether a mean is over fewer seeds than asked, of its row or of the row that it is compared with."""
        value = column.estimates[row]
        return column.interval and value is not None and value.n < self.asked

    def headed(self) -> list[tuple[str | None, list[int]]]:
        """Heading → its rows, in order."""
        if not any(self.groups):
            return [(None, list(range(len(self.labels))))]
        rows: dict[str | None, list[int]] = {}
        for row, group in enumerate(self.groups):
            rows.setdefault(group, []).append(row)
        return list(rows.items())


def estimate(values: Sequence[float]) -> Estimate | None:
    """None for no values; NaN half-width for one."""
    return Estimate(statistics.fmean(values), t_half_width(values), len(values)) if values else None


def of_records(
    rows: Sequence[Row], key: str, title: str, value: Callable[[Record], float | None], **looks: object
) -> Column:
    """A column whose rows are means over their records; those that have no such value are left out."""
    values = ([v for record in row.records.values() if (v := value(record)) is not None] for row in rows)
    return Column(key, title, tuple(map(estimate, values)), **looks)  # type: ignore[arg-type]


def with_marks(table: Table) -> list[tuple[Column, dict[int, Mark]]]:
    """Each column with its rows' marks. Equal means share a mark; rows and means that lack seeds compete for none."""
    return [(column, _marks(table, column)) for column in table.columns]


def _marks(table: Table, column: Column) -> dict[int, Mark]:
    if column.better is None:
        return {}
    sign = 1 if column.better == "higher" else -1
    scores = {
        row: sign * round(value.mean, column.digits)
        for row, value in enumerate(column.estimates)
        if value is not None and math.isfinite(value.mean)
        if table.labels[row] not in table.incomplete and not table.short(column, row)
    }
    levels = sorted(set(scores.values()), reverse=True)
    names: tuple[Mark, Mark] = ("best", "second")
    if len(scores) < 2:
        return {}
    return {row: names[levels.index(score)] for row, score in scores.items() if score in levels[:2]}
