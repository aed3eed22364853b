"""Two suites, or one at two commits, side by side: what changed, and whether more than chance would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mola import metrics, registry
from mola.experiment.plausible import fault
from mola.experiment.record import Record
from mola.metrics.kinds import KINDS
from mola.reporting.results.records import Row, same_data, score
from mola.reporting.results.snapshots import Snapshot
from mola.reporting.statistics.paired import differences
from mola.reporting.tables.layout import Column, Estimate, Table, estimate
from mola.reporting.tables.notes import condensed, of_row
from mola.reporting.tables.significance import INTERVAL, difference_columns, limits, meaning_of_p, paired, unit
from mola.spans import spans
from mola.types import BadInput, Task

PARTS = {
    "code": "the code that a run executes",
    "manifest": "the split manifest",
    "files": "the content of a file that the settings name",
}


def compare(a: Snapshot, b: Snapshot, order: Sequence[str] = ()) -> list[Table]:
    """A table per benchmark: each row's score in A and in B, and the difference B − A of runs with one seed and one
    prepared data. Rows stand in the order of these labels, others behind them.
    """
    ordered = sorted({**a.rows, **b.rows}, key=lambda key: order.index(key[1]) if key[1] in order else len(order))
    names = sorted({name for name, _ in ordered})
    return [_table(name, [label for benchmark, label in ordered if benchmark == name], a, b) for name in names]


def _table(name: str, labels: Sequence[str], a: Snapshot, b: Snapshot) -> Table:
    keys = [(name, label) for label in labels]
    tasks = _tasks(
        name, [r for side in (a, b) for key in keys if key in side.rows for r in side.rows[key].records.values()]
    )
    if tasks is None:
        return Table(name, (), (), f"{name} is no benchmark of this version: nothing is compared.", ())
    lines: list[tuple[str, str]] = []
    sides = {
        letter: _side([side.rows.get(key, Row(key[1], {}, {})) for key in keys], tasks)
        for letter, side in (("A", a), ("B", b))
    }
    for letter, rows in sides.items():
        for row in rows:
            notes = [f"{letter}, {line}" for line in of_row(row)]
            lines += [(row.label, line) for line in notes or ([] if row.records else [f"no runs in {letter}"])]
    pairs = []
    for label, one, other in zip(labels, *sides.values(), strict=True):
        ours, theirs = one.records, other.records
        alike = {seed: r for seed, r in theirs.items() if seed in ours and r.data == ours[seed].data}
        pairs.append(paired(alike, ours, tasks))
        if apart := [seed for seed in theirs if seed in ours and seed not in alike]:
            lines.append((label, f"seeds {spans(apart)} were made on other prepared data in B: no difference"))
        if ours and theirs:
            lines += [(label, line) for line in _changes(next(iter(ours.values())), next(iter(theirs.values())))]
        changes = (line for seed, record in alike.items() for line in _changes(ours[seed], record))
        if alike and not apart and next(changes, None) is None:
            lines.append((label, "nothing that a run depends on changed"))
    lines += [("tests", line) for line in limits(pairs)]
    columns = (
        *(column for letter, rows in sides.items() for column in _scores(letter, rows, tasks)),
        *difference_columns(differences(pairs), "B − A"),
    )
    caption = (
        f"{name}: {unit(tasks).rstrip(',')}. A: {a.name}; B: {b.name}. Mean ± half-width of the 95 % t interval over "
        f"each side's seeds, n (A) and n (B) of them; B − A by seed with the {INTERVAL}, n pairs; "
        f"{meaning_of_p(pairs)}."
    )
    return Table(name, tuple(labels), columns, caption, condensed(lines, labels))


def _tasks(name: str, records: Sequence[Record]) -> Sequence[Task] | None:
    """The benchmark's, with the options of the runs; None where there is no such benchmark any more.

    name: the label, which is the benchmark's name where no run says another.
    """
    try:
        options = records[0].settings["benchmark_options"] if records else {}
        name = records[0].settings.get("benchmark", name) if records else name
        known = registry.option_names("benchmarks", name)
        # a record doesn't say where the user's images are
        if "manifest" in known:
            return _recorded_tasks(records)
        given = {key: value for key, value in options.items() if key in known}
        tasks: Sequence[Task] = registry.create("benchmarks", name, Path("data"), options=given).tasks
    except (BadInput, FileNotFoundError, KeyError):
        return None
    return tasks


def _recorded_tasks(records: Sequence[Record]) -> Sequence[Task] | None:
    """Tasks as far as their scores tell; None where there are none."""
    scores = next((record.test for record in records if record.test), {})
    kinds = ((task, kind) for task, of_task in scores.items() for kind in KINDS if {*metrics.names(kind)} <= {*of_task})
    return [Task(task, kind, 0, metrics.names(kind)) for task, kind in kinds] or None


def _side(rows: list[Row], tasks: Sequence[Task]) -> list[Row]:
    """A side's rows, of which the runs count whose scores are numbers, all on the same prepared data."""
    for row in rows:
        for seed, problem in [(seed, fault(record, tasks)) for seed, record in row.records.items()]:
            if problem:
                row.leave_out(seed, problem)
    same_data(rows, "most runs of this side")
    return rows


def _scores(letter: str, rows: Sequence[Row], tasks: Sequence[Task]) -> tuple[Column, Column]:
    """A side's means, and of how many runs."""
    key, scores = letter.lower(), [[score(record, tasks) for record in row.records.values()] for row in rows]
    runs = tuple(Estimate(len(row)) for row in scores)
    return (
        Column(key, letter, tuple(map(estimate, scores))),
        Column(f"{key}_runs", f"n ({letter})", runs, 0, interval=False),
    )


def _changes(a: Record, b: Record) -> Iterator[str]:
    """What the runs differ in, from A to B."""
    for part, name in PARTS.items():
        if getattr(a.fingerprint, part) != getattr(b.fingerprint, part):
            yield f"{name} changed"
    for key in ("settings", "versions", "device", "threads"):
        before, after = _flat(getattr(a, key), key), _flat(getattr(b, key), key)
        for place in dict.fromkeys([*before, *after]):
            if before.get(place) != after.get(place):
                was, now = (str(values.get(place, "–")) for values in (before, after))
                yield f"{place.removeprefix('settings.')} {was} → {now}"


def _flat(value: Any, place: str) -> dict[str, Any]:
    """Dotted key → value."""
    if not isinstance(value, dict):
        return {place: value}
    return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{place}.{key}").items()}
