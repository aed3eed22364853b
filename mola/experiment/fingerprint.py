"""What a result depends on, as one hash: the code that a run executes, its settings, and the split manifest.

The workflow keeps it in a file beside the records and rewrites that only when it changes. So editing the trainer
retrains, editing a method retrains that method, and editing the tables, a comment or a docstring retrains nothing.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import tokenize
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def fingerprint(settings: Mapping[str, object], modules: Iterable[str], manifest: str) -> dict[str, str]:
    """``{"code", "settings", "manifest", "all"}``: sha256 of each part, and of them together.

    settings: what the run is told, as plain data.
    modules:  dotted names of where a run starts; all that they import of this package counts.
    manifest: sha256 of the committed split manifest.
    """
    code = hashlib.sha256("".join(_meaning(m) for m in sorted(closure(modules))).encode()).hexdigest()
    told = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
    whole = hashlib.sha256(f"{code}{told}{manifest}".encode()).hexdigest()
    return {"code": code, "settings": told, "manifest": manifest, "all": whole}


def closure(modules: Iterable[str]) -> set[str]:
    """The modules of this package that the given ones import, at the top or inside a function, themselves included.

    The root package is left out: its ``__init__`` only offers the layers by name.
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found and name != __package__ and _file(name) is not None:
            found.add(name)
            waiting += _imports(name) | {name.rpartition(".")[0]}  # a package's __init__ runs first
    return found


@cache
def _imports(name: str) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(_text(name))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(n for n in found if n.partition(".")[0] == __package__)


@cache
def _meaning(name: str) -> str:
    """A module's source without comments, docstrings and blank lines.

    Text, not ``ast.dump``: the same file must give the same hash on every version of Python.
    """
    text = _text(name)
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            first = node.body[0]
            for row in range(first.lineno - 1, first.end_lineno or first.lineno):
                lines[row] = ""
    return f"# {name}\n" + "\n".join(stripped for line in lines if (stripped := line.rstrip())) + "\n"


def _file(name: str) -> Path | None:
    path = ROOT / name.replace(".", "/")
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def _text(name: str) -> str:
    path = _file(name)
    assert path is not None, name
    return path.read_text()
