"""A table before it is written: what the renderers get."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mola.reporting.tables.estimates import Column

Mark = Literal["best", "second"]


@dataclass(frozen=True)
class Table:
    """Rows of labels, columns of numbers, and what a reader must know.

    incomplete: rows that lack seeds: they are marked, and never best.
    groups:     each row's heading, rows of one group together; empty: no headings.
    asked:      number of seeds that a mean should be over. One over fewer shows its n, and is never best; 0: none does.
    """

    title: str
    labels: tuple[str, ...]
    columns: tuple[Column, ...]
    caption: str
    notes: tuple[str, ...]
    incomplete: frozenset[str] = frozenset()
    groups: tuple[str | None, ...] = ()
    asked: int = 0

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


def with_marks(table: Table) -> list[tuple[Column, dict[int, Mark]]]:
    """Each column with its rows' marks. Equal means share a mark; rows and means that lack seeds compete for none."""
    return [(column, _marks(table, column)) for column in table.columns]


def spans(numbers: Sequence[int]) -> str:
    """[0, 1, 2, 5] → "0–2, 5"."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}–{p[-1]}" for p in parts)


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
