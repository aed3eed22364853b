"""Refuse names that say nothing, and comments behind an opening bracket.

``python tools/lint_words.py mola tests`` prints ``file:line: name: advice`` for each and exits with 1 if there is one.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

VALUES = {
    "told": "say what it is: message, settings, settings_hash, record",
    "found": "say what it is: match, value, result, actual",
    "wanted": "say expected, required or requested",
    "made": "say what it is: record, created, output",
    "own": "say whose, or what it is: local, private, per_task",
    "seen": "say visited, observed or known",
    "beside": "say what it is: extra, overhead, comparison",
    "room": "say what it is: free_bytes, margin, scene",
    "cell": "say experiment, run, or entry of a table",
}
MODULES = {
    "natural": "say augment_photos",
    "growing": "say npy_writer",
    "rivals": "say methods",
    "bars": "say thresholds",
    "beside": "say what it compares",
    "parts": "say prepared",
    "life": "say merging or storage",
    "fan_out": "say expand",
    "trees": "say what it reads from a commit",
}
# these address a linter, which looks for them where they are
PRAGMAS = ("noqa", "type:", "pragma:", "fmt:")


def bound(node: ast.AST) -> str | None:
    """The name that a node of the syntax tree gives to a value, function or class, if any."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
            return name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.alias(asname=name) | ast.ExceptHandler(name=name):
            return name
        case ast.MatchAs(name=name) | ast.MatchStar(name=name) | ast.MatchMapping(rest=name):
            return name
    return None


def findings(path: Path, modules: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Line and message of each finding in the file ``path``; ``modules`` are its folders and itself, by name."""
    for module in modules:
        if advice := MODULES.get(module.removesuffix(".py").lstrip("_").removeprefix("test_")):
            yield 1, f"module {module}: {advice}"
    with tokenize.open(path) as file:
        text = file.read()
    for node in ast.walk(ast.parse(text, path)):
        if advice := VALUES.get((name := bound(node) or "").lstrip("_")):
            yield getattr(node, "lineno", 1), f"{name}: {advice}"
    for before, token in pairwise(tokenize.generate_tokens(io.StringIO(text).readline)):
        behind = token.type == tokenize.COMMENT and before.string in ("(", "[", "{") and before.end[0] == token.start[0]
        if behind and not token.string.lstrip("# ").startswith(PRAGMAS):
            yield token.start[0], "comment behind an opening bracket: put it above the line"


def main(roots: list[str]) -> int:
    """Check the Python files of the given files and folders; the exit code."""
    count = 0
    for root in map(Path, roots):
        for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            for line, message in sorted(findings(path, path.relative_to(root).parts or (path.name,))):
                print(f"{path}:{line}: {message}")
                count += 1
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
