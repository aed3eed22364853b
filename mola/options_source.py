"""Reads the options of a registered class from its source, so that planning never pays for ``import torch``.

A class is stood in for by one that has its name, its parents' stand-ins and its nested ``Options``, and nothing else.
``Options`` is executed with the names that it uses: imports, constants and functions at the top of its file. Whatever
is less simple than that is imported as it is.
"""

from __future__ import annotations

import ast
import builtins
import importlib
from functools import cache
from typing import Any

from mola.options import Configurable, Options
from mola.plugins import is_ours
from mola.source import Import, absolute, import_targets, module_file, syntax_tree
from mola.types import BadInput

# packages whose modules import torch, as those of plugins may
WITH_TORCH = ("mola.methods", "mola.balancers", "mola.benchmarks")


class _NotSimple(Exception):
    """The source alone does not tell."""


def forget() -> None:
    """Read everything anew: modules of other files have the names of those that were read."""
    for cached in (options_class, _stand_in, _value, _definitions):
        cached.cache_clear()


@cache
def options_class(module: str, name: str) -> type[Options]:
    """The ``Options`` of the class ``name`` of a module. Raises BadInput for a file that is no Python."""
    try:
        options: type[Options] = _stand_in(module, name).Options
    except BadInput:
        raise
    except Exception:
        options = getattr(importlib.import_module(module), name).Options
    return options


@cache
def _stand_in(module: str, name: str) -> Any:
    """A class with the options of the class ``name`` of a module, its own or inherited as Python does it."""
    node = _definition(module, name)
    if isinstance(node, ast.ImportFrom):
        origin, original = _origin(node, module, name)
        if _is_read(origin):
            return _stand_in(origin, original)
        return Configurable if (origin, original) == ("mola.options", "Configurable") else object
    if not isinstance(node, ast.ClassDef) or node.decorator_list:
        raise _NotSimple
    body: dict[str, Any] = {}
    for statement in node.body:
        if isinstance(statement, ast.ClassDef) and statement.name == "Options":
            body["Options"] = _executed(statement, "Options", module)
        elif "Options" in _stored(statement):
            raise _NotSimple
    bases = [_base(module, base) for base in node.bases]
    return type(name, tuple(base for base in bases if base is not object), body)


def _is_read(module: str) -> bool:
    """Whether a module is read as source, and not imported."""
    return module.startswith(WITH_TORCH) or is_ours(module)


def _base(module: str, base: ast.expr) -> Any:
    """The stand-in of a parent; ``object`` for one that comes from elsewhere and has no options."""
    if isinstance(base, ast.Name):
        return _stand_in(module, base.id)
    if isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):
        node = _definition(module, base.value.id)
        if isinstance(node, Import) and not import_targets(node)[base.value.id].lstrip(".").startswith("mola"):
            return object
    raise _NotSimple


def _executed(node: ast.stmt, name: str, module: str) -> Any:
    """What a statement at the top of a module, or a nested class, binds to a name."""
    names: dict[str, Any] = {"__name__": module}
    parents = {n.value.id for n in ast.walk(node) if _is_options(n)}  # type: ignore[attr-defined]
    for used in {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}:
        if used in parents:
            names[used] = _stand_in(module, used)
        elif _definitions(module, used) not in ([], [node]):
            names[used] = _value(module, used)
        elif not hasattr(builtins, used) and used not in _stored(node) | _arguments(node):
            raise _NotSimple
    exec(compile(ast.Module([node], []), module, "exec", dont_inherit=True), names)
    return names[name]


def _is_options(node: ast.AST) -> bool:
    """Whether it is ``Parent.Options``."""
    return isinstance(node, ast.Attribute) and node.attr == "Options" and isinstance(node.value, ast.Name)


def _stored(node: ast.AST) -> set[str]:
    """The names that are assigned to anywhere inside a node."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _arguments(node: ast.AST) -> set[str]:
    return {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}


@cache
def _value(module: str, name: str) -> Any:
    """What a name at the top of a module stands for."""
    node = _definition(module, name)
    if isinstance(node, ast.Import):
        return importlib.import_module(import_targets(node)[name])
    if isinstance(node, ast.ImportFrom):
        origin, original = _origin(node, module, name)
        if _is_read(origin):
            return _value(origin, original)
        return getattr(importlib.import_module(origin), original)
    return _executed(node, name, module)


def _origin(node: ast.ImportFrom, module: str, name: str) -> tuple[str, str]:
    """(module, name) that an imported name has where it comes from."""
    path = module_file(module)
    package = module if path and path.name == "__init__.py" else module.rpartition(".")[0]
    origin, _, original = absolute(import_targets(node)[name], package).rpartition(".")
    return origin, original


def _definition(module: str, name: str) -> ast.stmt:
    """The one statement at the top of a module that binds a name."""
    statements = _definitions(module, name)
    if len(statements) != 1:
        raise _NotSimple
    return statements[0]


@cache
def _definitions(module: str, name: str) -> list[ast.stmt]:
    """All statements of a module, but for those inside functions and classes, that bind a name."""
    path = module_file(module)
    return [node for node in syntax_tree(path).body if name in _bound(node)] if path else []


def _bound(node: ast.stmt) -> set[str]:
    if isinstance(node, Import):
        return {*import_targets(node)}
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return {node.name}
    inner = {
        name for part in ast.walk(node) if part is not node and isinstance(part, ast.stmt) for name in _bound(part)
    }
    return inner | _stored(node)
