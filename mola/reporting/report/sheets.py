"""What stands behind a number: the runs of a row on a benchmark, with settings, curve, log and commit."""

from __future__ import annotations

import math
import shlex
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from mola.experiment.record import Record
from mola.metrics import averageable, overall
from mola.reporting.figures._source import Source
from mola.reporting.report.places import Places
from mola.reporting.results.records import Row, score
from mola.reporting.tables.notes import of_row

# as mola.experiment.run calls it, which loads torch
LOG = "log.txt"
# the last lines of a log, and how long each may be
TAIL, WIDEST = 8, 160
# points of a curve that are drawn, and the size of its picture
POINTS, WIDTH, HEIGHT = 40, 300, 90
FACTS = ("method", "balancer", "learning rate", "epochs", "batch size", "options")


@dataclass(frozen=True)
class Curve:
    """Validation scores by epoch: a line per seed as points of an SVG, and the ends of both axes."""

    lines: Sequence[str]
    low: str
    high: str
    epochs: int


@dataclass(frozen=True)
class Sheet:
    """All that the page tells about the runs of a row on a benchmark."""

    id: str
    benchmark: str
    label: str
    slot: int
    finished: int
    asked: int
    facts: Sequence[tuple[str, str]]
    settings: str
    curve: Curve | None
    runs: Sequence[Mapping[str, str]]
    problems: Sequence[tuple[int, str, str]]
    notes: Sequence[str]
    logs: Sequence[tuple[int, str]]
    unit: str


def sheets(source: Source, places: Places, config: Path) -> list[Sheet]:
    """A sheet per row. config: the suite's file, for the commands that train a missing run."""
    return [_sheet(row, source, places, config) for row in source.rows]


def _sheet(row: Row, source: Source, places: Places, config: Path) -> Sheet:
    records = list(row.records.values())
    settings = records[0].settings if records else {}
    written = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True) if settings else ""
    return Sheet(
        id=places.runs(source.benchmark, row.label),
        benchmark=source.benchmark,
        label=row.label,
        slot=places.slots[row.label],
        finished=len(records),
        asked=source.asked,
        facts=_facts(settings),
        settings=written,
        curve=_curve(records, source),
        runs=[_run(seed, record, source) for seed, record in row.records.items()],
        problems=[(seed, reason, _again(row, source, seed, config)) for seed, reason in row.problems.items()],
        notes=list(of_row(replace(row, problems={}))),
        logs=_logs(row),
        unit="%" if averageable(source.tasks) else "mean of ±log(first metric) × 100",
    )


def _again(row: Row, source: Source, seed: int, config: Path) -> str:
    """What trains a run that is missing, for a shell."""
    words = ["mola", "train", "-c", str(config), "-b", source.benchmark, "-m", row.label, "-s", str(seed)]
    return shlex.join(words)


def _facts(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What tells rows apart, in the order of FACTS."""
    if not settings:
        return []
    training, options = settings["training"], {**settings["method_options"], **settings["balancer_options"]}
    values = (settings["method"], settings["balancer"], training["lr"], training["epochs"], training["batch_size"])
    listed = ", ".join(f"{key} {value}" for key, value in options.items())
    return [(name, str(value)) for name, value in zip(FACTS, (*values, listed), strict=True) if value != ""]


def _run(seed: int, record: Record, source: Source) -> dict[str, str]:
    """A run's line of the table: title → text."""
    milliseconds = record.seconds_per_step and 1000 * record.seconds_per_step
    epochs = sorted({*record.selected.values()})
    certified = f", certified at {record.certified.commit[:7]}" if record.certified else ""
    commit = f"{str(record.commit)[:7]}{' + changes' if record.dirty else ''}{certified}" if record.commit else "none"
    return {
        "seed": str(seed),
        "test": _number(score(record, source.tasks)),
        "valid": _number(100 * overall(record.valid, source.tasks)),
        "epoch": "–".join(str(epoch) for epoch in dict.fromkeys((epochs[0], epochs[-1]))) if epochs else "–",
        "minutes": f"{sum(epoch.train_seconds for epoch in record.curve) / 60:.2f}",
        "ms/step": f"{milliseconds:.0f}" if milliseconds else "–",
        "MiB": f"{record.peak_memory_bytes / 2**20:.0f}",
        "day": record.time[:10],
        "commit": commit,
    }


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if math.isfinite(value) else "–"


def _curve(records: Sequence[Record], source: Source) -> Curve | None:
    """None where no run has two epochs with a finite score."""
    runs = [[100 * overall(epoch.valid, source.tasks) for epoch in record.curve] for record in records]
    runs = [values for values in runs if len(values) > 1 and all(map(math.isfinite, values))]
    if not runs:
        return None
    low, high, epochs = min(map(min, runs)), max(map(max, runs)), max(map(len, runs))
    span = high - low or 1.0
    lines = []
    for values in runs:
        step = max(1, math.ceil(len(values) / POINTS))
        # the last epoch is always drawn
        drawn = sorted({*range(0, len(values), step), len(values) - 1})
        points = ((WIDTH * i / (epochs - 1), HEIGHT * (1 - (values[i] - low) / span)) for i in drawn)
        lines.append(" ".join(f"{x:.0f},{y:.1f}" for x, y in points))
    return Curve(lines, _number(low), _number(high), epochs)


def _logs(row: Row) -> list[tuple[int, str]]:
    """The last lines of the logs that are here, of the first run and of those that do not count: (seed, text)."""
    if row.experiment is None:
        return []
    seeds = [*list(row.records)[:1], *row.problems]
    logs = ((seed, _tail(row.experiment.run_folder(seed) / LOG)) for seed in seeds)
    return [(seed, log) for seed, log in logs if log]


def _tail(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return "".join(line[:WIDEST].rstrip() + "\n" for line in deque(file, TAIL))
    except OSError:
        return ""
