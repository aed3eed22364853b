"""Tables for the page: what each cell reads, what it sorts by, and the runs that it leads to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mola.reporting.render.text import in_parts, label, lines, text
from mola.reporting.tables.layout import Column, Estimate, Table, with_marks

# (column, row's label) → the id that the cell leads to, or None
Link = Callable[[Column, str], str | None]


@dataclass(frozen=True)
class Cell:
    """mean and rest: the number, and its interval or n; value: what sorting compares, empty where there is nothing."""

    mean: str
    rest: str
    value: str
    mark: str
    cited: bool
    link: str | None


@dataclass(frozen=True)
class Line:
    """A row: its label as data and as it reads, and its cells."""

    name: str
    shown: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Grid:
    """A table, its rows under their headings."""

    title: str
    first: str
    heads: Sequence[Column]
    parts: Sequence[tuple[str | None, Sequence[Line]]]
    caption: str
    notes: Sequence[str]


def grid(table: Table, link: Link) -> Grid:
    """A table of the page."""
    columns = with_marks(table)

    def line(row: int) -> Line:
        name = table.labels[row]
        cells = [_table_entry(table, column, row, marks.get(row, ""), link) for column, marks in columns]
        return Line(name, label(table, row), cells)

    parts = [(heading, [line(row) for row in members]) for heading, members in table.headed()]
    return Grid(table.title, table.first, table.columns, parts, table.caption, lines(table))


def _table_entry(table: Table, column: Column, row: int, mark: str, link: Link) -> Cell:
    estimate = column.estimates[row]
    mean, rest = in_parts(text(table, column, row))
    leads = None if estimate is None or column.cited else link(column, table.labels[row])
    return Cell(mean, rest, _value(estimate), mark, column.cited, leads)


def _value(estimate: Estimate | None) -> str:
    if estimate is None or math.isnan(estimate.mean):
        return estimate.words if estimate else ""
    return f"{estimate.mean:.9g}"
