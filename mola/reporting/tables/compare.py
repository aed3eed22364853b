"""Two suites, or one at two commits, side by side: what changed, and whether more than chance would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mola import registry
from mola.reporting.results.records import Cell, Record, fault, same_data
from mola.reporting.results.trees import Tree
from mola.reporting.statistics.paired import differences
from mola.reporting.tables.columns import score
from mola.reporting.tables.estimates import Column, Estimate, estimate
from mola.reporting.tables.layout import Table, spans
from mola.reporting.tables.notes import condensed, of_cell
from mola.reporting.tables.significance import INTERVAL, difference_columns, limits, paired, told_of, unit
from mola.types import BadInput, Task


def compare(a: Tree, b: Tree, order: Sequence[str] = ()) -> list[Table]:
    """A table per benchmark: each row's score in A and in B, and the difference B − A of runs with one seed and one
    prepared data. Rows stand in the order of these labels, others behind them.
    """
    found = dict.fromkeys([*a.records, *b.records, *a.problems, *b.problems])
    rows = sorted(found, key=lambda row: order.index(row[1]) if row[1] in order else len(order))
    names = sorted({name for name, _ in rows})
    return [_table(name, [label for benchmark, label in rows if benchmark == name], a, b) for name in names]


def _table(name: str, labels: Sequence[str], a: Tree, b: Tree) -> Table:
    tasks = _tasks(name, [r for t in (a, b) for label in labels for r in t.records.get((name, label), {}).values()])
    if tasks is None:
        return Table(name, (), (), f"{name} is no benchmark of this version: nothing is compared.", ())
    lines: list[tuple[str, str]] = []
    sides = {letter: _side(tree, name, labels, tasks) for letter, tree in (("A", a), ("B", b))}
    for letter, cells in sides.items():
        for cell in cells:
            told = [f"{letter}, {line}" for line in of_cell(cell)]
            lines += [(cell.label, line) for line in told or ([] if cell.records else [f"no runs in {letter}"])]
    pairs = []
    for label, one, other in zip(labels, *sides.values(), strict=True):
        ours, theirs = one.records, other.records
        alike = {seed: r for seed, r in theirs.items() if seed in ours and r.get("data") == ours[seed].get("data")}
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
        *(column for letter, cells in sides.items() for column in _scores(letter, cells, tasks)),
        *difference_columns(differences(pairs), "B − A"),
    )
    caption = (
        f"{name}: {unit(tasks).rstrip(',')}. A: {a.name}; B: {b.name}. Mean ± half-width of the 95 % t interval over "
        f"each side's seeds, n (A) and n (B) of them; B − A by seed with the {INTERVAL}, n pairs; {told_of(pairs)}."
    )
    return Table(name, tuple(labels), columns, caption, condensed(lines, labels))


def _tasks(name: str, records: Sequence[Record]) -> Sequence[Task] | None:
    """The benchmark's, with the options of the runs; None where there is no such benchmark any more."""
    try:
        options = records[0]["config"]["benchmark_options"] if records else {}
        given = {key: value for key, value in options.items() if key in registry.option_names("benchmarks", name)}
        tasks: Sequence[Task] = registry.create("benchmarks", name, Path("data"), options=given).tasks
    except (BadInput, FileNotFoundError, KeyError):
        return None
    return tasks


def _side(tree: Tree, name: str, labels: Sequence[str], tasks: Sequence[Task]) -> list[Cell]:
    """A side's rows: the runs whose scores are numbers, all on the same prepared data."""
    cells = []
    for label in labels:
        runs, problems = tree.records.get((name, label), {}), dict(tree.problems.get((name, label), {}))
        problems |= {seed: told for seed, record in runs.items() if (told := fault(record, tasks))}
        cells.append(Cell(label, {seed: r for seed, r in runs.items() if seed not in problems}, problems))
    same_data(cells, "most runs of this side")
    return cells


def _scores(letter: str, cells: Sequence[Cell], tasks: Sequence[Task]) -> tuple[Column, Column]:
    """A side's means, and of how many runs."""
    key, rows = letter.lower(), [[score(record, tasks) for record in cell.records.values()] for cell in cells]
    runs = tuple(Estimate(len(row)) for row in rows)
    return (
        Column(key, letter, tuple(estimate(row) for row in rows)),
        Column(f"{key}_runs", f"n ({letter})", runs, 0, interval=False),
    )


def _changes(a: Record, b: Record) -> Iterator[str]:
    """What the runs differ in, from A to B."""
    for part, told in (("code", "the code that a run executes"), ("manifest", "the split manifest")):
        if a["fingerprint"].get(part) != b["fingerprint"].get(part):
            yield f"{told} changed"
    for key in ("config", "versions", "device", "threads"):
        before, after = _flat(a.get(key), key), _flat(b.get(key), key)
        for place in dict.fromkeys([*before, *after]):
            if before.get(place) != after.get(place):
                was, now = (str(side.get(place, "–")) for side in (before, after))
                yield f"{place.removeprefix('config.')} {was} → {now}"


def _flat(value: Any, place: str) -> dict[str, Any]:
    """Dotted key → value."""
    if not isinstance(value, dict):
        return {place: value}
    return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{place}.{key}").items()}
