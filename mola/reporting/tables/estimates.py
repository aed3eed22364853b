"""What stands in a table: estimates, in columns."""

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

ARROWS: dict[Direction, str] = {"higher": "↑", "lower": "↓"}


@dataclass(frozen=True)
class Estimate:
    """A mean over n seeds, with its 95 % t half-width or with the two ends of an interval; or words instead."""

    mean: float
    half_width: float = math.nan
    n: int = 1
    ends: tuple[float, float] | None = None
    words: str = ""


@dataclass(frozen=True)
class Column:
    """A column of numbers: an estimate per row, or None where there is nothing to show."""

    key: str  # in the CSV
    title: str
    estimates: tuple[Estimate | None, ...]
    digits: int = 2
    better: Literal["higher", "lower"] | None = None  # None: no best is marked
    signed: bool = False
    interval: bool = True
    cited: bool = False  # not of these runs: kept apart from them


def estimate(values: Sequence[float]) -> Estimate | None:
    """None for no values; NaN half-width for one."""
    return Estimate(statistics.fmean(values), t_half_width(values), len(values)) if values else None


def of_records(
    rows: Sequence[Row], key: str, title: str, value: Callable[[Record], float | None], **looks: object
) -> Column:
    """A column whose rows are means over their records; those that have no such value are left out."""
    values = ([v for record in row.records.values() if (v := value(record)) is not None] for row in rows)
    return Column(key, title, tuple(map(estimate, values)), **looks)  # type: ignore[arg-type]
