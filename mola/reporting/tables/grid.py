"""What tuning on a grid chose for every row: columns, and notes that say how it was chosen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mola.reporting.results.records import Row
from mola.reporting.tables.layout import Column, Estimate
from mola.sections import Tune

EDGE = "‡"
WORDS = {"lr": "learning rate"}


def grid_columns(rows: Sequence[Row]) -> tuple[list[Column], list[Column]]:
    """A column for every knob of the suite's grid, and for the CSV alone ``<knob>_edge``: lowest or highest, where a
    best value is that of the grid. Both empty where the suite has no grid.
    """
    chosen, edges = [], []
    for key, grid in _grid(rows).items():
        ends = [_ends(_values(row, key), grid) for row in rows]
        words = [_span(_values(row, key)) for row in rows]
        estimates = (
            Estimate(math.nan, words=text, mark=EDGE if end else "") if text else None
            for text, end in zip(words, ends, strict=True)
        )
        chosen.append(Column(key, key, tuple(estimates), interval=False))
        at = (Estimate(math.nan, words=" and ".join(end)) if end else None for end in ends)
        edges.append(Column(f"{key}_edge", f"{key}: edge", tuple(at), interval=False))
    return chosen, edges


def grid_notes(rows: Sequence[Row]) -> Iterator[str]:
    """How the values were chosen, those of rows whose parts have one each, and what the mark means."""
    tune = _tune(rows)
    for key, grid in _grid(rows).items():
        name = WORDS.get(key, key)
        seeds = f"{tune.seeds} seeds" if tune and tune.seeds > 1 else "1 seed"
        yield f"{name} of every row: the best of {', '.join(map(_text, grid))} on the validation split, {seeds} each"
        for row in rows:
            if isinstance(value := _value(row, key), Mapping):
                parts = (f"{part} {_text(v)}{f' {EDGE}' if _ends([v], grid) else ''}" for part, v in value.items())
                yield f"{row.label}, {name} by part: {', '.join(parts)}"
        if any(_ends(_values(row, key), grid) for row in rows):
            yield f"{EDGE} the best {name} lies at the edge of the grid: one beyond it may be better"


def _tune(rows: Sequence[Row]) -> Tune | None:
    return next((row.experiment.suite.tune for row in rows if row.experiment), None)


def _grid(rows: Sequence[Row]) -> Mapping[str, Sequence[Any]]:
    tune = _tune(rows)
    return tune.grid_values if tune else {}


def _value(row: Row, key: str) -> Any:
    """What tuning chose for the row's runs: a value, or one for every part; None where it chose nothing."""
    chosen = (record.tuned.parameters for record in row.records.values() if record.tuned)
    return next(chosen, {}).get("training", {}).get(key)


def _values(row: Row, key: str) -> list[Any]:
    value = _value(row, key)
    if value is None:
        return []
    return list(value.values()) if isinstance(value, Mapping) else [value]


def _ends(values: Sequence[Any], grid: Sequence[Any]) -> list[str]:
    """Which ends of the grid are among the values; none of a grid that has no order or no two values."""
    if len(grid) < 2 or not all(isinstance(value, int | float) for value in grid):
        return []
    return [name for name, end in (("lowest", min(grid)), ("highest", max(grid))) if end in values]


def _span(values: Sequence[Any]) -> str:
    """One value, or the least and the greatest of several."""
    different = sorted(set(values))
    return "–".join(map(_text, different[:: max(1, len(different) - 1)]))


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
