"""Columns and notes of numbers that others published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mola import registry
from mola.reporting.results.cited import Cited
from mola.reporting.tables.layout import Column, Estimate
from mola.types import BadInput


def cited_columns(cited: Cited | None, labels: Sequence[str], columns: Sequence[Column], place: str) -> list[Column]:
    """A column for each of the runs' columns that numbers are cited for. Raises BadInput for the key of no column.

    place: where the numbers stand, for the error.
    """
    if cited is None:
        return []
    known = {column.key: column for column in columns}
    for label, row in cited.rows.items():
        for key in row:
            if key not in known:
                hint = registry.did_you_mean(key, known)
                raise BadInput(f"{place}.rows.{label}.{key}: expected one of {', '.join(known)}{hint}")
    values = {key: [cited.rows.get(label, {}).get(key) for label in labels] for key in known}
    return [
        replace(
            column,
            key=f"cited_{key}",
            title=f"cited: {column.title}",
            estimates=tuple(None if value is None else Estimate(value) for value in values[key]),
            better=None,
            interval=False,
            cited=True,
        )
        for key, column in known.items()
        if any(value is not None for value in values[key])
    ]


def cited_notes(cited: Cited | None, labels: Sequence[str]) -> list[str]:
    """Where the numbers come from, and whose have no row here."""
    if cited is None:
        return []
    lines = [f"cited: numbers of {cited.source}, not of these runs; data, splits and selection may differ"]
    if others := [label for label in cited.rows if label not in labels]:
        lines.append(f"cited numbers without a row here: {', '.join(others)}")
    return lines
