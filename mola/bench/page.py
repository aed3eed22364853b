"""The files that ``mola bench … --json`` wrote, as Markdown tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mola.bench.report import shown
from mola.types import BadInput


def page(files: Sequence[Path]) -> str:
    """A table for each file, under the command that wrote it. Raises BadInput for what is no such file."""
    return "\n\n".join(_one(file) for file in files)


def _one(file: Path) -> str:
    try:
        told = json.loads(file.read_text())
        on = f"{told['machine']['device']}, {told['machine']['threads']} threads, torch {told['versions']['torch']}"
        head = f"`{told['command']}` ([{file.name}]({file.name})): {told['repeats']} repeats, {on}"
        return f"{head}\n\n{_rates(told) if 'images_per_second' in told else _rows(told)}"
    except OSError as error:
        raise BadInput(f"bench: expected a file that can be read, found {file}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"bench: expected a file that `mola bench … --json` wrote, found {file}: {error!r}") from None


def _rows(told: dict[str, Any]) -> str:
    verdicts = dict(bar.split(" against ", 1) for bar in told.get("bars", []))
    beside = any(row.get("beside") is not None for row in told["rows"])
    names = ["time", "range", "wall", "FLOPs", "memory", *["beside J"] * beside]
    lines = [f"| row | {' | '.join(names)} | bars |", f"|---|{'---:|' * len(names)}---|"]
    for row in told["rows"]:
        kept = ("wall", "flops", "memory", *["beside"] * beside)
        spread = f"{shown(row['lowest'])}–{shown(row['highest'])}"
        values = [shown(row["time"]), spread, *(shown(row.get(name)) for name in kept)]
        lines.append(f"| {row['name']} | {' | '.join(values)} | {verdicts.get(row['name'], '')} |")
    return "\n".join(lines)


def _rates(told: dict[str, Any]) -> str:
    rates = told["images_per_second"]
    lines = [f"| {' | '.join(name.replace('_', ' ') for name in rates)} |", f"|{'---:|' * len(rates)}"]
    return "\n".join([*lines, f"| {' | '.join(f'{rate:.0f}' for rate in rates.values())} |"])
