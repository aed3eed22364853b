"""Python source as text: which file a module is, and what its imports name. Nothing is imported or executed here."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent  # the folder that holds this package


@cache
def module_file(module: str) -> Path | None:
    """The source file of a module of this package, or of one on Python's search path; None where there is none."""
    relative = Path(*module.split("."))
    for folder in (ROOT, *map(Path, sys.path)):
        for path in (folder / relative.with_suffix(".py"), folder / relative / "__init__.py"):
            if path.is_file():
                return path
    return None


@cache
def syntax_tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def absolute(node: ast.ImportFrom, module: str) -> str:
    """The module that ``from … import`` names, where it stands in ``module``; leading dots are resolved."""
    if not node.level:
        return node.module or ""
    path = module_file(module)
    package = module.split(".") if path and path.name == "__init__.py" else module.split(".")[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *filter(None, [node.module])])
