"""The files that ``mola bench … --json`` wrote, as Markdown tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mola.bench.data import Rates
from mola.bench.report import Row, shown
from mola.bench.run import Shares
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
        shape = next((shape for key, shape in SHAPES.items() if key in content), _rows)
        return f"{head}\n\n{shape(content)}"
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


def _parts(content: dict[str, Any]) -> str:
    sections = []
    for part in content["parts"]:
        remarks = "".join(f"\n- {_plain(remark)}" for remark in part["remarks"])
        sections.append(f"{part['title']}:\n\n{_rows(content | part)}" + (f"\n{remarks}" if remarks else ""))
    return "\n\n".join(sections)


def _plain(text: str) -> str:
    # messages of others may have what Markdown reads as its own
    return text.replace("`", "").replace("<", "&lt;").replace("|", "\\|")


def _run(content: dict[str, Any]) -> str:
    run = content["run"]
    lines = [f"| {' | '.join(run['shares'])} |", f"|{'---:|' * len(run['shares'])}"]
    lines.append(f"| {' | '.join(f'{share:.1%}' for share in run['shares'].values())} |")
    return "\n".join([*lines, "", *(f"- {line}" for line in Shares(**run).verdicts())])


def _rates(content: dict[str, Any]) -> str:
    rates = content["images_per_second"]
    lines = [f"| {' | '.join(name.replace('_', ' ') for name in rates)} |", f"|{'---:|' * len(rates)}"]
    lines.append(f"| {' | '.join(f'{rate:.0f}' for rate in rates.values())} |")
    supposed = {key: content[key] for key in ("flops", "tera") if key in content}
    return "\n".join([*lines, "", *(f"- {line}" for line in Rates(**rates, **supposed).verdicts())])


SHAPES: dict[str, Callable[[dict[str, Any]], str]] = {"images_per_second": _rates, "parts": _parts, "run": _run}
