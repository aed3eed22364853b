"""Writes the pages of docs/reference that are made of code: keys of the configuration, options of methods, balancers
and benchmarks, and the command line.

    python tools/reference_pages.py
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mola import registry
from mola.cli import app
from mola.config import Suite
from mola.sections import Backbone, BenchmarkEntry, Interval, MethodEntry, Probes, Training, Tune

FOLDER = Path(__file__).parent.parent / "docs/reference"
SECTIONS = (Training, Backbone, Tune, Interval, Probes, BenchmarkEntry, MethodEntry)
PLAIN: dict[object, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    Path: "path",
    type(None): "null",
    Any: "any value",
}
LIMITS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
# what typer puts behind the name of an option that has no metavar
TYPE = r" <\w+(\[\w+\])?>$"
MADE = "This page is made from the code by `python tools/reference_pages.py`.\n"


def pages() -> dict[str, str]:
    """File name → text of every page that is made of code."""
    return {"configuration.md": _configuration(), "parts.md": _parts(), "command-line.md": _command_line()}


def _configuration() -> str:
    text = (
        "# The configuration\n\n"
        f"A suite is one YAML file. {MADE}\n"
        "Only `suite`, `seeds`, `benchmarks` and `methods` have to be there. A wrong key or value is refused in one "
        "line, before anything is written: it names the key, what was expected and what is there. Complete files "
        "are in [config/](../../config/config.yaml).\n\n"
        "## The suite\n\n"
    )
    text += _table(Suite)
    for section in SECTIONS:
        text += f"\n## {section.__name__}\n\n{_paragraph(section.__doc__)}\n\n{_table(section)}"
    return text


def _parts() -> str:
    text = (
        f"# Methods, balancers, benchmarks\n\n{MADE}\n"
        "Options stand in the configuration under the name: `methods: {mola_grad: {rank: 4}}`. `mola list` shows the "
        "same, with [parts of your own](../add-a-method.md).\n"
    )
    for kind in registry.KINDS:
        text += f"\n## {kind.capitalize()}\n"
        for name in registry.names(kind):
            summary, source = registry.describe(kind, name)
            table = _table(registry.options_of(kind, name))
            text += f"\n### `{name}`\n\n" + "\n\n".join(filter(None, [summary, source and f"Source: {source}", table]))
            text = text.rstrip() + "\n"
    return text


def _table(model: type[BaseModel]) -> str:
    if not model.model_fields:
        return ""
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        cells = (f"`{name}`", _words(field.annotation, field.metadata), _default(field), field.description or "")
        lines.append(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in cells)} |")
    return "\n".join(lines) + "\n"


def _words(kind: Any, limits: Iterable[object] = ()) -> str:
    """A type in words."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _words(inside[0], inside[1:])
    if origin is Literal:
        return ", ".join(f"`{str(value).lower() if isinstance(value, bool) else value}`" for value in inside)
    if origin in (Union, type(int | None)):
        return " or ".join(dict.fromkeys(_words(each) for each in inside))
    if origin in (list, tuple):
        inner = _words(inside[0])
        return f"list of {inner.replace('integer', 'integers').replace('any value', 'any values')}"
    if (isinstance(origin, type) and issubclass(origin, dict)) or str(origin).endswith("Mapping'>"):
        return f"{_words(inside[0])} → {_words(inside[1])}"
    if isinstance(kind, type) and kind in SECTIONS:
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    word = PLAIN[kind] if kind in PLAIN else str(getattr(kind, "__name__", kind))
    bounds = [
        f"{sign} {getattr(limit, attribute):g}"
        for limit in _flat(limits)
        for attribute, sign in LIMITS.items()
        if getattr(limit, attribute, None) is not None and getattr(limit, attribute) < 2**63
    ]
    return " ".join([word, *bounds])


def _flat(limits: Iterable[object]) -> Iterator[object]:
    for limit in limits:
        yield from getattr(limit, "metadata", [limit])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    if field.default_factory is not None:
        return "empty"
    if field.default is None:
        return "null"
    if isinstance(field.default, BaseModel):
        return "its defaults"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def _command_line() -> str:
    root = typer.main.get_command(app)
    text = (
        f"# The command line\n\n{MADE}\n"
        "Every command has `--help`. Exit codes: 0 fine, 1 a run failed, 2 bad input, 130 interrupted.\n"
    )
    for path, command, context in _commands(root, "mola", None):
        options = [
            record
            for parameter in command.params
            if (record := parameter.get_help_record(context)) and record[0] != "--help"
        ]
        text += f"\n## {path}\n\n{_help(command.help or '')}\n"
        if options:
            rows = [
                f"| `{re.sub(TYPE, '', name)}` | {_escaped(' '.join(meaning.split()))} |" for name, meaning in options
            ]
            text += "\n".join(["\n| option | meaning |", "|---|---|", *rows]) + "\n"
    return text


def _commands(command: Any, path: str, parent: Any) -> Iterator[tuple[str, Any, Any]]:
    """Every command below one, with its path; groups have no section of their own."""
    context = command.context_class(command, info_name=path, parent=parent)
    if not hasattr(command, "commands"):
        yield path, command, context
        return
    for name, inside in sorted(command.commands.items()):
        yield from _commands(inside, f"{path} {name}", context)


def _help(text: str) -> str:
    """A help text as Markdown; its examples as code."""
    paragraphs = []
    for paragraph in text.split("\n\n"):
        if match := re.match(r"Examples?: (.*)", " ".join(paragraph.split())):
            paragraphs.append("```sh\n" + "\n".join(match[1].rstrip(".").split("; ")) + "\n```")
        else:
            paragraphs.append(_escaped(_paragraph(paragraph)))
    return "\n\n".join(paragraphs)


def _escaped(text: str) -> str:
    """Placeholders such as <suite> are no HTML."""
    return re.sub(r"<(\w+)>", r"&lt;\1&gt;", text)


def _paragraph(text: str | None) -> str:
    return " ".join((text or "").replace("``", "`").split())


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in pages().items():
        (FOLDER / name).write_text(content)
        print(FOLDER / name)
