"""CSV: full precision, and no text that a spreadsheet would run as a formula."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from mola.reporting.render.text import one_line
from mola.reporting.tables.layout import Estimate, Table
from mola.spreadsheets import no_formula

NOTHING = Estimate(math.nan, n=0)
# numbers of tables are of the size of a percent: what is smaller is rounding
NOTHING_LEFT = 1e-12


def to_csv(table: Table) -> str:
    """A row per method; for every column the mean, ``<key>_ci95`` (half-width) or ``<key>_low`` and ``<key>_high``, and
    ``<key>_n`` (seeds); ``group`` where there are any.
    """
    return csv_text(frame(table))


def several(tables: Mapping[str, Table]) -> str:
    """Several tables of the same columns, with the name of each in front."""
    parts = [frame(table).assign(benchmark=name) for name, table in tables.items()]
    whole = pd.concat(parts, ignore_index=True)
    return csv_text(whole[["benchmark", *(key for key in whole.columns if key != "benchmark")]])


def frame(table: Table) -> pd.DataFrame:
    """The same as data."""
    data: dict[str, list[object]] = {table.first: list(table.labels)}
    if any(table.groups):
        data["group"] = list(table.groups)
    for column in (*table.columns, *table.csv_only):
        estimates = [estimate or NOTHING for estimate in column.estimates]
        data[column.key] = [e.words or e.mean for e in estimates]
        if column.interval and any(e.ends for e in estimates):
            for end, name in enumerate(("low", "high")):
                data[f"{column.key}_{name}"] = [e.ends[end] if e.ends else math.nan for e in estimates]
        elif column.interval:
            data[f"{column.key}_ci95"] = [e.half_width for e in estimates]
        if column.interval:
            data[f"{column.key}_n"] = [e.n for e in estimates]
    return pd.DataFrame(data)


def csv_text(data: pd.DataFrame) -> str:
    """The data with six digits, a line per row. Text (never a number) that begins with ``= + - @`` has a ``'`` in
    front, names of columns too: spreadsheets would take it for a formula.
    """
    return data.rename(columns=_harmless).map(_harmless).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def _harmless(value: object) -> object:
    """Text that is no formula, and 0 for what rounding makes of it: 5e-30, −0, another number on each machine."""
    if isinstance(value, float):
        return 0.0 if abs(value) < NOTHING_LEFT else value
    if not isinstance(value, str):
        return value
    return no_formula(one_line(value))
