"""How a number, a label and the notes read: the same in every form."""

from __future__ import annotations

import math

from mola.reporting.tables.layout import Column, Estimate, Table


def text(table: Table, column: Column, row: int) -> str:
    """The mean, with its interval where the column has one, and with n where it is over fewer seeds than asked."""
    value = column.estimates[row]
    if value is None:
        return "–"
    mark = f" {value.mark}" if value.mark else ""
    if value.words or math.isnan(value.mean):
        return (value.words or "–") + mark
    return _mean(column, value) + (f" (n = {value.n})" if table.short(column, row) else "") + mark


def label(table: Table, row: int) -> str:
    """A row's label, marked where it is a draft and where it lacks seeds."""
    plain = table.labels[row]
    return f"{plain}{' (draft)' if plain in table.drafts else ''}{' †' if plain in table.incomplete else ''}"


def one_line(plain: str) -> str:
    """Text without the ends of its lines."""
    return " ".join(plain.splitlines())


def in_parts(number: str) -> tuple[str, str]:
    """A number's mean, and its interval or n, which a page sets small; empty where there is neither."""
    for mark in (" ± ", " [", " (n"):
        mean, separator, rest = number.partition(mark)
        if separator:
            return mean, (separator + rest).strip()
    return number, ""


def lines(table: Table) -> tuple[str, ...]:
    """All notes."""
    legend = ["† not every seed is there; such a row is never marked as best."] if table.incomplete else []
    if any(table.short(column, row) for column in table.columns for row in range(len(table.labels))):
        legend.append(
            "(n = …): the seeds that a mean is over, where it lacks some; such a mean is never marked as best."
        )
    if table.drafts:
        legend.append("(draft): trained with code that is in no commit; a commit of it as it is makes the row count.")
    return (*legend, *table.notes)


def _mean(column: Column, value: Estimate) -> str:
    number = _number(value.mean, column)
    if column.interval and value.ends and not math.isnan(value.ends[0]):
        return f"{number} [{', '.join(_number(end, column) for end in value.ends)}]"
    if column.interval and not math.isnan(value.half_width):
        return f"{number} ± {value.half_width:.{column.digits}f}"
    return number


def _number(value: float, column: Column) -> str:
    return f"{value:{'+' if column.signed else ''}.{column.digits}f}".replace("-", "−")
