"""Values that several figures show."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from mola.metrics import averageable, overall
from mola.reporting.figures._source import Source
from mola.reporting.statistics import delta_task, t_half_width


def estimate(values: Sequence[float], asked: int) -> dict[str, Any]:
    """The columns that every table of results has."""
    mean = statistics.fmean(values) if values else math.nan
    return {"mean": mean, "ci95": t_half_width(values), "n": len(values), "asked": asked}


def headline(source: Source) -> tuple[str, Mapping[str, list[float]]]:
    """What one number says best about a row: its name with its unit, and a value per label and seed.

    Δ_task where the reference row has runs, of the seeds that both have; else the average over tasks; else what
    selection looks at. The reference itself is 0 by definition.
    """
    reference, tasks = source.suite.reference, source.tasks
    if base := source.results.base(reference):
        return f"Δ_task over {reference} (%)", {
            row.label: [
                delta_task(record.test, base[seed].test, tasks) for seed, record in row.records.items() if seed in base
            ]
            for row in source.rows
        }
    name, factor = ("average over tasks (%)", 100) if averageable(tasks) else ("mean ±log(first metric)", 1)
    return name, {
        row.label: [factor * overall(record.test, tasks) for record in row.records.values()] for row in source.rows
    }
