"""What can be set against each other: a row's score, its gain, and what it costs, as numbers for the page's script."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from mola.metrics import averageable
from mola.reporting.figures._source import Source, estimate, headline
from mola.reporting.report.places import Places
from mola.reporting.results.records import Row, scores
from mola.reporting.tables import costs

SCORE, GAIN, TIME = "score", "gain", "minutes"
DELTA = "Δ"
# of the tables' costs, with the titles of their axes
COSTS = {
    "milliseconds_per_step": "ms per training step",
    "peak_memory_mib": "peak memory (MiB)",
    "parameters_inference": "parameters of a prediction (M)",
    "parameters_trainable": "trained parameters (M)",
    "gflops_per_sample": "GFLOPs per image, forward",
}
KNOWN = {cost.key: cost for cost in costs.COSTS}


def measures(sources: Sequence[Source], places: Places) -> dict[str, Any]:
    """Plain data: ``axes`` (key, title, whether more is better), and for every benchmark its ``points`` with mean,
    half-width and n of each; null where a row has no such number. A row that lacks seeds is never on the front.
    """
    gain = next((title for source in sources if (title := headline(source)[0]).startswith(DELTA)), None)
    axes = [{"key": SCORE, "title": "test score (%)", "better": "higher"}]
    if any(not averageable(source.tasks) for source in sources):
        axes[0]["title"] = "test score (% where tasks have an average, else mean of ±log × 100)"
    if gain:
        axes.append({"key": GAIN, "title": gain, "better": "higher"})
    axes += [{"key": key, "title": title, "better": "lower"} for key, title in COSTS.items()]
    axes.append({"key": TIME, "title": "minutes of training a run", "better": "lower"})
    benchmarks = [{"name": source.benchmark, "points": _points(source, places)} for source in sources]
    return {"axes": axes, "benchmarks": benchmarks}


def _points(source: Source, places: Places) -> list[dict[str, Any]]:
    title, gains = headline(source)
    # where the reference has no run, the headline is another number
    gains = gains if title.startswith(DELTA) else {row.label: [] for row in source.rows}
    return [
        {
            "label": row.label,
            "slot": places.slots[row.label],
            "link": places.runs(source.benchmark, row.label),
            "complete": row.complete,
            "values": _values(row, gains[row.label], source),
        }
        for row in source.rows
        if row.records
    ]


def _values(row: Row, gains: Sequence[float], source: Source) -> dict[str, list[float | None]]:
    seeds = {SCORE: list(map(float, scores(row.records, source.tasks))), GAIN: list(gains)}
    if row.label == source.suite.reference:
        seeds[GAIN] = [0.0] * len(gains)
    values = {key: estimate(of_seeds, source.asked) for key, of_seeds in seeds.items()}
    numbers = {key: [value["mean"], value["ci95"]] for key, value in values.items()}
    for key in COSTS:
        mean = costs.mean_cost(row, KNOWN[key])
        numbers[key] = [mean.mean if mean else math.nan, math.nan]
    numbers[TIME] = [minutes(row), math.nan]
    return {key: [round(n, 6) if math.isfinite(n) else None for n in pair] for key, pair in numbers.items()}


def minutes(row: Row) -> float:
    """Median over the runs of the minutes of training, from the curve: it knows of a part before an interruption."""
    return statistics.median(sum(e.train_seconds for e in r.curve) / 60 for r in row.records.values())
