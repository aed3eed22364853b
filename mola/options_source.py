"""Reads the options of a registered class from its source, so that planning never pays for ``import torch``.

The nested class ``Options`` is executed alone, with the names that it uses: its parent's options, and the imports,
constants and functions at the top of its file. A file whose options need more than that is imported as it is.
"""

from __future__ import annotations

import ast
import builtins
import importlib
from functools import cache
from typing import Any

from mola.options import Configurable, Options
from mola.source import Import, absolute, import_targets, module_file, syntax_tree

WITH_TORCH = ("mola.methods", "mola.balancers", "mola.benchmarks")  # rooms whose files import it


@cache
def options_class(module: str, name: str) -> type[Options]:
    """The ``Options`` of the class ``name`` in a module: its own, or else the most derived of its parents'."""
    node = _definition(module, name)
    if isinstance(node, ast.ImportFrom):
        return options_class(*_origin(node, module, name))
    if not isinstance(node, ast.ClassDef):
        return Options
    nested = next((n for n in node.body if isinstance(n, ast.ClassDef) and n.name == "Options"), None)
    if nested is None:
        parents = [options_class(module, base.id) for base in node.bases if isinstance(base, ast.Name)]
        return max(parents, key=lambda parent: len(parent.__mro__), default=Options)
    try:
        executed: type[Options] = _executed(nested, module, {"__qualname__": f"{name}.Options"})
        return executed
    except NameError:
        imported: type[Options] = getattr(importlib.import_module(module), name).Options
        return imported


def _executed(node: ast.stmt, module: str, scope: dict[str, Any] | None = None) -> Any:
    """What one statement at the top of a module, or a nested class, defines."""
    names: dict[str, Any] = {"__name__": module, **(scope or {})}
    # of every ``Parent.Options``
    attributes = (n for n in ast.walk(node) if isinstance(n, ast.Attribute) and n.attr == "Options")
    parents = {attribute.value.id for attribute in attributes if isinstance(attribute.value, ast.Name)}
    for name in {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}:
        if name in parents:
            names[name] = type(name, (Configurable,), {"Options": options_class(module, name)})
        elif not hasattr(builtins, name) and _definition(module, name) not in (None, node):
            names[name] = _value(module, name)
    before = {*names, "__builtins__"}
    exec(compile(ast.Module([node], []), module, "exec", dont_inherit=True), names)
    return next(value for name, value in names.items() if name not in before)


@cache
def _value(module: str, name: str) -> Any:
    """What a name at the top of a module stands for."""
    node = _definition(module, name)
    if isinstance(node, ast.Import):
        return importlib.import_module(import_targets(node)[name])
    if isinstance(node, ast.ImportFrom):
        origin, original = _origin(node, module, name)
        if origin.startswith(WITH_TORCH):
            return _value(origin, original)
        return getattr(importlib.import_module(origin), original)
    if node is None:
        raise NameError(name)
    return _executed(node, module)


def _origin(node: ast.ImportFrom, module: str, name: str) -> tuple[str, str]:
    """(module, name) that an imported name has where it comes from."""
    path = module_file(module)
    package = module if path and path.name == "__init__.py" else module.rpartition(".")[0]
    origin, _, original = absolute(import_targets(node)[name], package).rpartition(".")
    return origin, original


@cache
def _definition(module: str, name: str) -> ast.stmt | None:
    """The statement at the top of a module that defines a name: the last, as when it is executed."""
    path = module_file(module)
    definition = None
    for node in syntax_tree(path).body if path else ():
        if isinstance(node, Import):
            defined = {*import_targets(node)}
        elif isinstance(node, ast.Assign):
            defined = {n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            defined = {node.target.id}
        else:
            defined = {getattr(node, "name", "")}
        if name in defined:
            definition = node
    return definition
