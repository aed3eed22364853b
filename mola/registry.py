"""A file's name is its registration: ``mola/methods/mola_grad.py`` is the method ``mola_grad``; its class is named
alike (``MoLAGrad``). The same holds for files in ``methods/`` beside a suite's configuration (:mod:`mola.plugins`).

Listing, describing and checking options read the source text only, so ``mola list`` and the workflow's planning never
pay for ``import torch``.
"""

from __future__ import annotations

import ast
import difflib
import importlib
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pydantic
from pydantic import PydanticUserError

from mola import faults, options_source, plugins, source
from mola.guards import guarded
from mola.options import Options
from mola.options_source import options_class
from mola.plain import NAME
from mola.plugins import KINDS, Kind, Plugin
from mola.source import syntax_tree
from mola.types import BadInput, one_line

PACKAGE = Path(__file__).parent
__all__ = ["KINDS", "Kind"]


def look_in(folder: Path | None) -> None:
    """Look for plugins in the folder of a suite's configuration, and in no other; None: in none."""
    if plugins.look_in(folder):
        source.forget()
        options_source.forget()


def names(kind: Kind) -> tuple[str, ...]:
    """The registered names of a kind, sorted: of this package, of the suite's folder and of installed packages."""
    return tuple(sorted({*_built_in(kind), *plugins.candidates(kind)}))


def plugin(kind: Kind, name: str) -> Plugin | None:
    """What a name stands for that is not of this package; None for what is. Raises BadInput for a name that is not
    registered, stands for two things, or can't be imported.
    """
    every = plugins.candidates(kind).get(name, [])
    if not every and name in _built_in(kind):
        return None
    if not every:
        raise BadInput(
            f"unknown {kind[:-1]} '{name}'{did_you_mean(name, names(kind))}; registered: {', '.join(names(kind))}"
        )
    origins = [*(["built in"] if name in _built_in(kind) else []), *(one.origin for one in every)]
    if len(origins) > 1:
        raise BadInput(f"{kind[:-1]} '{name}': expected one of this name, found {' and '.join(origins)}; rename one")
    if every and not name.isidentifier():
        raise BadInput(f"{every[0].origin}: expected a name of letters, digits and _, found '{name}'")
    return every[0]


def module(kind: Kind, name: str) -> str:
    """The dotted name of the module with a registered class. Raises BadInput for an unknown name."""
    given = plugin(kind, name)
    return given.module if given else f"mola.{kind}.{name}"


def load(kind: Kind, name: str) -> Any:
    """Import and return the class a name stands for. Raises BadInput with the nearest name for an unknown one."""
    given = plugin(kind, name)
    if given:
        return guarded(given, _class_name(kind, name))
    return getattr(importlib.import_module(f"mola.{kind}.{name}"), _class_name(kind, name))


def options_of(kind: Kind, name: str) -> type[Options]:
    """The typed options of a registered class, read without importing torch. Raises BadInput for an unknown name."""
    given, title = plugin(kind, name), _class_name(kind, name)
    try:
        with faults.named(given.file) if given else nullcontext():
            return options_class(module(kind, name), title)
    except faults.PluginError as error:
        # no class of the kind has no options, which is said in other words
        if given and isinstance(error.__cause__, AttributeError):
            guarded(given, title)
        raise
    except (NameError, PydanticUserError) as error:
        message = str(error).splitlines()[0]
        raise BadInput(f"mola/{kind}/{name}.py: expected Options with types and defaults, found: {message}") from None


def create(kind: Kind, name: str, *arguments: Any, options: Mapping[str, object]) -> Any:
    """An object of the class that a name stands for, with these options. Raises BadInput for an unknown name."""
    cls = load(kind, name)
    if plugin(kind, name) is None:
        return cls.create(*arguments, **options)
    with faults.named(*faults.definition(cls.__base__)):
        return cls.create(*arguments, **options)


def describe(kind: Kind, name: str) -> tuple[str, str]:
    """(summary, source) of a file: its docstring's first paragraph, and the one that begins with ``Source:``."""
    paragraphs = (ast.get_docstring(syntax_tree(_file(kind, name))) or "").split("\n\n")
    source = next((text.removeprefix("Source:") for text in paragraphs if text.startswith("Source:")), "")
    return paragraphs[0].replace("\n", " "), " ".join(source.split())


def check_options(kind: Kind, name: str, options: Mapping[str, object], where: str) -> dict[str, object]:
    """The options as plain data, with defaults filled in and types checked against the class's ``Options``.

    ``where`` names the place in the configuration for the error message.
    """
    known = option_names(kind, name)
    for key in options:
        if key not in known:
            hint = did_you_mean(key, known)
            raise BadInput(f"{where}.{key}: unknown option of {name}{hint}; it takes {', '.join(known) or 'none'}")
    try:
        return dict(options_of(kind, name).model_validate(options))
    except pydantic.ValidationError as error:
        raise BadInput(explain(error, where)) from None


def option_names(kind: Kind, name: str) -> tuple[str, ...]:
    """The names of the options that a registered class takes."""
    return tuple(options_of(kind, name).model_fields)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``, did you mean 'x'?`` or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean '{near[0]}'?" if near else ""


def explain(error: pydantic.ValidationError, where: str) -> str:
    """The first error of a validation in one line: the dotted key, what was expected, what was found."""
    first = _first(error)
    # pydantic appends the branch of a union to the path ("rank.int"); users only know the key
    keys = [str(part) for part in first["loc"] if not _is_branch(part)]
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if first["type"] == "string_pattern_mismatch":
        message = f"expected {NAME}"
    place = one_line(".".join(filter(None, [where, *keys])), 80)
    line = f"{place}: {one_line(message[:1].lower() + message[1:], 120)}"
    # what lacks a key may be a whole file
    return line if first["type"] == "missing" else f"{line}, found {one_line(repr(first['input']), 80)}"


def _first(error: pydantic.ValidationError) -> Any:
    """The first error; where none of the types of a union fits, that of the one which fits best: where its error is
    deepest.
    """
    errors = error.errors(include_url=False)
    place = errors[0]["loc"]
    if not place or not _is_branch(place[-1]):
        return errors[0]
    return max((e for e in errors if e["loc"][: len(place) - 1] == place[:-1]), key=lambda e: len(e["loc"]))


def _is_branch(part: object) -> bool:
    """Whether a part of an error's place is one of the types of a union."""
    return str(part) in ("int", "float", "str", "bool") or str(part).startswith("constrained-") or "[" in str(part)


def _file(kind: Kind, name: str) -> Path:
    given = plugin(kind, name)
    return given.file if given else PACKAGE / kind / f"{name}.py"


@cache
def _built_in(kind: Kind) -> tuple[str, ...]:
    return tuple(sorted(p.stem for p in (PACKAGE / kind).glob("*.py") if not p.stem.startswith("_")))


def _class_name(kind: Kind, name: str) -> str:
    given = plugin(kind, name)
    if given and given.attribute:
        return given.attribute
    for node in syntax_tree(_file(kind, name)).body:
        if isinstance(node, ast.ClassDef) and node.name.lower() == name.replace("_", ""):
            return node.name
    place = given.origin if given else f"mola/{kind}/{name}.py"
    raise BadInput(f"{place}: expected a class named like the file (any case, no underscores), found none")
