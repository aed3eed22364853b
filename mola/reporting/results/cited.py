"""Numbers that others published: a file that the user fills. Tables show them in columns apart from those of the runs.

    vlcs:
      source: Zhou et al. 2024, table 1
      rows:
        mola_grad: {average: 81.2, caltech: 97.9}

Rows are labels of the suite, keys those of the table's CSV, values in the unit of that column.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mola import registry
from mola.config import Section
from mola.types import BadInput
from mola.yaml_file import read


class Cited(Section):
    """What one publication says about one benchmark."""

    source: str
    rows: dict[str, dict[str, float]]


def cited(path: Path | None) -> Mapping[str, Cited]:
    """Benchmark → its numbers, of the file that the suite names. Raises BadInput for a file that is none."""
    if path is None:
        return {}
    try:
        return TypeAdapter(dict[str, Cited]).validate_python(read(path))
    except ValidationError as error:
        raise BadInput(f"{path}: {registry.explain(error, '')}") from None
