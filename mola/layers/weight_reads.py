"""Who reads a layer's weight without calling the layer, as its adapters would then have no effect, without a word.

Found in source code, before anything runs: the forward of every module around the layer, its own methods and the plain
functions that it calls, with what they are handed. What is computed at run time, such as ``getattr(layer, name)``, is
not seen.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from functools import cache
from types import FunctionType
from typing import Any

from torch import nn

# what may be read of a weight without computing with it
HARMLESS = ("dtype", "device", "shape", "size", "ndim", "dim", "numel", "requires_grad", "is_cuda", "stride")
DEEPEST = 6  # calls from forward
Paths = Mapping[str, str]  # variable → dotted name, relative to the module whose forward it is; * for any element


def reader_of(model: nn.Module, name: str) -> str | None:
    """The class, among those around a layer of a dotted name, whose forward reads its weight; None where none does."""
    parts = name.split(".")
    for depth in range(len(parts)):
        owner = type(model.get_submodule(".".join(parts[:depth])))
        if any(_matches(path.split("."), parts[depth:]) for path in _reads(owner)):  # type: ignore[arg-type]
            return owner.__name__
    return None


def _matches(path: list[str], parts: list[str]) -> bool:
    return len(path) == len(parts) and all(a in ("*", b) for a, b in zip(path, parts, strict=True))


@cache
def _reads(owner: type[nn.Module]) -> frozenset[str]:
    """The dotted names, relative to a module of this class, of the modules whose weight its forward reads."""
    search = _Search(owner)
    search.visit_function(owner.forward, {0: ""}, 0)
    return frozenset(search.reads)


class _Search:
    """One look through the code that a class's forward runs.

    reads: dotted names of the modules whose weight is read.
    """

    def __init__(self, owner: type[nn.Module]) -> None:
        self.owner, self.reads = owner, set[str]()
        self.visited: set[tuple[object, tuple[tuple[str, str], ...]]] = set()

    def visit_function(self, function: Callable[..., Any], arguments: Mapping[int | str, str], depth: int) -> None:
        """Look through a function. arguments: position or name of those that are modules → their dotted names."""
        tree = _syntax(function)
        if tree is None or depth > DEEPEST:
            return
        names = [argument.arg for argument in (*tree.args.posonlyargs, *tree.args.args)]
        paths = {key if isinstance(key, str) else names[key]: path for key, path in arguments.items()
                 if isinstance(key, str) or key < len(names)}  # fmt: skip
        key = function, tuple(sorted(paths.items()))
        if key not in self.visited:
            self.visited.add(key)
            self._visit_body(tree, paths, getattr(function, "__globals__", {}), depth)

    def _visit_body(self, tree: ast.AST, paths: dict[str, str], names: Mapping[str, Any], depth: int) -> None:
        parents = {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                if (path := _path(node.value, paths)) is not None:
                    paths[node.targets[0].id] = path
            elif (
                isinstance(node, ast.For | ast.comprehension)
                and isinstance(node.target, ast.Name)
                and (path := _path(node.iter, paths)) is not None
            ):
                paths[node.target.id] = f"{path}.*".lstrip(".")
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr == "weight" and isinstance(node.ctx, ast.Load):
                parent = parents.get(node)
                harmless = isinstance(parent, ast.Attribute) and parent.attr in HARMLESS
                if not harmless and (path := _path(node.value, paths)):
                    self.reads.add(path)
            elif isinstance(node, ast.Call):
                self._visit_call(node, paths, names, depth)

    def _visit_call(self, call: ast.Call, paths: Paths, names: Mapping[str, Any], depth: int) -> None:
        handed: dict[int | str, str] = {}
        for position, value in enumerate(call.args):
            if (path := _path(value, paths)) is not None:
                handed[position] = path
        for keyword in call.keywords:
            if keyword.arg and (path := _path(keyword.value, paths)) is not None:
                handed[keyword.arg] = path
        function = call.func
        if isinstance(function, ast.Attribute) and _path(function.value, paths) == "":
            method = inspect.getattr_static(self.owner, function.attr, None)
            if isinstance(method, FunctionType):
                shifted = {key + 1 if isinstance(key, int) else key: path for key, path in handed.items()}
                self.visit_function(method, {0: "", **shifted}, depth + 1)
        elif isinstance(function, ast.Name) and handed and isinstance(names.get(function.id), FunctionType):
            self.visit_function(names[function.id], handed, depth + 1)


def _path(node: ast.AST, paths: Paths) -> str | None:
    """The dotted name of the module that an expression is; None where it is none that is known."""
    if isinstance(node, ast.Name):
        return paths.get(node.id)
    if isinstance(node, ast.Attribute):
        before = _path(node.value, paths)
        return None if before is None else f"{before}.{node.attr}".lstrip(".")
    if isinstance(node, ast.Subscript):
        before = _path(node.value, paths)
        element = str(node.slice.value) if isinstance(node.slice, ast.Constant) else "*"
        return None if before is None else f"{before}.{element}".lstrip(".")
    return None


def _syntax(function: Callable[..., Any]) -> ast.FunctionDef | None:
    """The definition of a function; None where there is no source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    first = tree.body[0] if tree.body else None
    return first if isinstance(first, ast.FunctionDef) else None
