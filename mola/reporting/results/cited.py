"""Numbers that others published: a file that the user fills. They stand in columns of their own, never among own rows.

    vlcs:
      source: Zhou et al. 2024, table 1
      rows:
        mola_grad: {average: 81.2, caltech: 97.9}

Rows are labels of the suite, keys those of the table's CSV, values in the unit of that column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mola import registry
from mola.config import Section, Suite
from mola.reporting.tables.estimates import Column, Estimate
from mola.types import BadInput
from mola.yaml_file import read


class Cited(Section):
    """What one publication says about one benchmark."""

    source: str
    rows: dict[str, dict[str, float]]


def cited(suite: Suite) -> Mapping[str, Cited]:
    """Benchmark → its numbers, of the suite's file. Raises BadInput for a file that can't be read as one."""
    if suite.paper_numbers is None:
        return {}
    try:
        return TypeAdapter(dict[str, Cited]).validate_python(read(Path(suite.paper_numbers)))
    except ValidationError as error:
        raise BadInput(f"{suite.paper_numbers}: {registry.explain(error, '')}") from None


def cited_columns(told: Cited | None, labels: Sequence[str], columns: Sequence[Column], place: str) -> list[Column]:
    """A column beside each own one that numbers are told for. Raises BadInput for the key of none.

    place: where the numbers stand, for the error.
    """
    if told is None:
        return []
    known = {column.key: column for column in columns}
    for label, row in told.rows.items():
        for key in row:
            if key not in known:
                hint = registry.did_you_mean(key, known)
                raise BadInput(f"{place}.rows.{label}.{key}: expected one of {', '.join(known)}{hint}")
    found = []
    for key, column in known.items():
        values = [told.rows.get(label, {}).get(key) for label in labels]
        if any(value is not None for value in values):
            rows = tuple(None if value is None else Estimate(value) for value in values)
            looks = {"estimates": rows, "better": None, "interval": False, "cited": True}
            found.append(replace(column, key=f"cited_{key}", title=f"cited: {column.title}", **looks))  # type: ignore[arg-type]
    return found


def cited_notes(told: Cited | None, labels: Sequence[str]) -> list[str]:
    """Where the numbers come from, and whose have no row here."""
    if told is None:
        return []
    lines = [f"cited: numbers of {told.source}, not of these runs; data, splits and selection may differ"]
    if others := [label for label in told.rows if label not in labels]:
        lines.append(f"cited numbers without a row here: {', '.join(others)}")
    return lines
