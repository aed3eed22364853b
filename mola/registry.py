"""A file's name is its registration: ``mola/methods/mola_grad.py`` is the method ``mola_grad``; its class is named
alike (``MoLAGrad``).

Listing, describing and checking options read the source text only, so ``mola list`` and the workflow's planning never
pay for ``import torch``.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pydantic

import mola.types
from mola.types import BadInput, one_line

Room = Literal["methods", "benchmarks", "balancers"]
PACKAGE = Path(__file__).parent


@cache
def names(room: Room) -> tuple[str, ...]:
    """The registered names of a room, sorted."""
    return tuple(sorted(p.stem for p in (PACKAGE / room).glob("*.py") if not p.stem.startswith("_")))


def load(room: Room, name: str) -> Any:
    """Import and return the class a name stands for. Raises BadInput with the nearest name for an unknown one."""
    check_name(room, name)
    module = importlib.import_module(f"mola.{room}.{name}")
    return getattr(module, _class_node(room, name).name)


def check_name(room: Room, name: str) -> None:
    """Raise BadInput for a name that is not registered."""
    if name not in names(room):
        raise BadInput(
            f"unknown {room[:-1]} '{name}'{did_you_mean(name, names(room))}; registered: {', '.join(names(room))}"
        )


def describe(room: Room, name: str) -> tuple[str, str]:
    """(summary, source) of a file: its docstring's first paragraph, and the one that begins with ``Source:``."""
    paragraphs = (ast.get_docstring(_tree(room, name)) or "").split("\n\n")
    source = next((text.removeprefix("Source:") for text in paragraphs if text.startswith("Source:")), "")
    return paragraphs[0].replace("\n", " "), " ".join(source.split())


def check_options(room: Room, name: str, options: Mapping[str, object], where: str) -> dict[str, object]:
    """The options with defaults filled in and types checked against the constructor's keyword-only arguments.

    ``where`` names the place in the configuration for the error message.
    """
    check_name(room, name)
    known = option_names(room, name)
    for key in options:
        if key not in known:
            hint = did_you_mean(key, known)
            raise BadInput(f"{where}.{key}: unknown option of {name}{hint}; it takes {', '.join(known) or 'none'}")
    try:
        return dict(_options_model(room, name).model_validate(options))
    except pydantic.ValidationError as error:
        raise BadInput(explain(error, where)) from None


def option_names(room: Room, name: str) -> tuple[str, ...]:
    """The options a registered class takes: the keyword-only arguments of its constructor."""
    return tuple(_options_model(room, name).model_fields)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``, did you mean 'x'?`` or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean '{near[0]}'?" if near else ""


def explain(error: pydantic.ValidationError, where: str) -> str:
    """The first error of a validation in one line: the dotted key, what was expected, what was found."""
    first = error.errors(include_url=False)[0]
    # pydantic appends the branch of a union to the path ("rank.int"); users only know the key
    keys = [
        str(part) for part in first["loc"] if str(part) not in ("int", "float", "str", "bool") and "[" not in str(part)
    ]
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    place, value = ".".join(filter(None, [where, *keys])), one_line(repr(first["input"]), 80)
    return f"{one_line(place, 80)}: {one_line(message[:1].lower() + message[1:], 120)}, found {value}"


@cache
def _tree(room: Room, name: str) -> ast.Module:
    return ast.parse((PACKAGE / room / f"{name}.py").read_text())


def _class_node(room: Room, name: str) -> ast.ClassDef:
    wanted = name.replace("_", "")
    for node in _tree(room, name).body:
        if isinstance(node, ast.ClassDef) and node.name.lower() == wanted:
            return node
    raise BadInput(
        f"mola/{room}/{name}.py: expected a class named like the file (any case, no underscores), found none"
    )


@cache
def _options_model(room: Room, name: str) -> type[pydantic.BaseModel]:
    """A model of the constructor's keyword-only arguments, built from the source text."""
    node = _class_node(room, name)
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    fields: dict[str, Any] = {}
    if init is not None:
        scope = {
            **vars(typing),
            **vars(mola.types),
            **{
                n: getattr(pydantic, n)
                for n in ("Field", "PositiveInt", "PositiveFloat", "NonNegativeInt", "NonNegativeFloat")
            },
        }
        for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
            if argument.annotation is None or default is None:
                raise BadInput(f"mola/{room}/{name}.py: option '{argument.arg}' needs a type and a default")
            annotation = eval(
                compile(ast.Expression(argument.annotation), name, "eval"), scope
            )  # our own source, not the user's input
            fields[argument.arg] = (annotation, ast.literal_eval(default))
    return pydantic.create_model(
        node.name, __config__=pydantic.ConfigDict(extra="forbid", allow_inf_nan=False), **fields
    )
