"""The files that ``mola bench … --json`` wrote, as Markdown tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mola.bench.report import Row, shown
from mola.bench.thresholds import verdicts
from mola.bench.workloads import Setting, Workload
from mola.types import BadInput

NUMBERS = {"wall": "wall", "flops": "FLOPs", "memory": "memory", "memory_without_jacobian": "without J"}


def page(files: Sequence[Path]) -> str:
    """A table for each file, under the command that wrote it. Raises BadInput for any other file."""
    return "\n\n".join(_section(file) for file in files)


def _section(file: Path) -> str:
    try:
        content = json.loads(file.read_text())
        machine, versions = content["machine"], content["versions"]
        surroundings = f"{machine['device']}, {machine['threads']} threads, torch {versions['torch']}"
        head = f"`{content['command']}` ([{file.name}]({file.name})): {content['repeats']} repeats, {surroundings}"
        return f"{head}\n\n{_rates(content) if 'images_per_second' in content else _rows(content)}"
    except OSError as error:
        raise BadInput(f"bench: expected a file that can be read, found {file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"bench: expected a file that `mola bench … --json` wrote, found {file}: {error!r}") from None


def _rows(content: dict[str, Any]) -> str:
    rows = [_row(row) for row in content["rows"]]
    verdicts = dict(line.split(" against ", 1) for line in _verdicts(content, rows))
    keys = [key for key in NUMBERS if any(getattr(row, key) is not None for row in rows)]
    titles = ["time", "range", *(NUMBERS[key] for key in keys)]
    table = [f"| row | {' | '.join(titles)} | thresholds |", f"|---|{'---:|' * len(titles)}---|"]
    for row in rows:
        spread = f"{shown(row.lowest)}–{shown(row.highest)}"
        values = [shown(row.time), spread, *(shown(getattr(row, key)) for key in keys)]
        table.append(f"| {row.name} | {' | '.join(values)} | {verdicts.get(row.name, '')} |")
    return "\n".join(table)


def _row(content: dict[str, Any]) -> Row:
    # older files say "beside"
    names = {"beside": "memory_without_jacobian"}
    return Row(**{names.get(key, key): value for key, value in content.items()})


def _verdicts(content: dict[str, Any], rows: list[Row]) -> list[str]:
    """By the thresholds of today, whatever they were when the rows were measured; a file of a GPU keeps its own."""
    # older files say "case" for the workload
    workload, setting = content.get("workload") or content["case"], content["setting"]
    if setting["device"] != "cpu":
        return list(content["thresholds"])
    # JSON has no tuples
    options = tuple((key, value) for key, value in workload["options"])
    return verdicts(Workload(**{**workload, "options": options}), Setting(**setting), rows)


def _rates(content: dict[str, Any]) -> str:
    rates = content["images_per_second"]
    lines = [f"| {' | '.join(name.replace('_', ' ') for name in rates)} |", f"|{'---:|' * len(rates)}"]
    return "\n".join([*lines, f"| {' | '.join(f'{rate:.0f}' for rate in rates.values())} |"])
