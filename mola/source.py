"""Python source as text: where modules lie, and what imports stand for. Nothing is imported or executed here."""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from mola.types import BadInput

PACKAGE = "mola"
ROOT = Path(__file__).parent.parent  # the folder that holds this package
Import = ast.Import | ast.ImportFrom
INSTALLED = {"site-packages", "dist-packages"}
STANDARD = {Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "platstdlib")}


def modules_along(name: str, root: Path = ROOT) -> Iterator[tuple[str, Path]]:
    """The packages around a dotted name and the module itself, as far as there are any: of ``a.b.c`` a, a.b and a.b.c,
    each with its file, or its folder where it is a namespace package.

    root: the folder that holds this package; other modules are looked for on ``sys.path``.
    """
    first = name.partition(".")[0]
    places = (str(root),) if first == PACKAGE else tuple(sys.path)
    module = ""
    for part in name.split(".") if first not in sys.builtin_module_names else ():
        path = located(part, places)
        if path is None and not module and first != PACKAGE:
            path = _by_finders(part)
        if path is None:
            return
        module = f"{module}.{part}".strip(".")
        yield module, path
        # nothing lies in a plain module; a namespace package lies in all folders of its name
        folders = [str(Path(place, part)) for place in places if Path(place, part).is_dir()] or [str(path)]
        places = (str(path.parent),) if path.name == "__init__.py" else () if path.suffix else tuple(folders)


def module_file(name: str) -> Path | None:
    """The source file of a module; None where there is none."""
    path = dict(modules_along(name)).get(name)
    return path if path and path.suffix else None


@cache
def located(name: str, places: tuple[str, ...]) -> Path | None:
    """The first file in these folders that ``import name`` would take, or else the first folder of that name."""
    folders = [Path(place, name) for place in places]
    files = (path for folder in folders for path in (folder / "__init__.py", folder.with_suffix(".py")))
    return next((p for p in files if p.is_file()), next((f for f in folders if f.is_dir()), None))


@cache
def _by_finders(name: str) -> Path | None:
    """The file or folder of a package at the top that ``sys.path`` alone does not lead to: one that is installed to be
    edited. Nothing is imported.
    """
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.origin and Path(spec.origin).suffix == ".py":
        return Path(spec.origin)
    return next((Path(place) for place in spec.submodule_search_locations or []), None)


@cache
def is_local(path: Path) -> bool:
    """Whether a module's file or folder is neither Python's nor an installed distribution's."""
    path = path.resolve()
    return not INSTALLED & {*path.parts} and not any(path.is_relative_to(folder) for folder in STANDARD)


def forget() -> None:
    """Read everything anew: modules of other files have the names of those that were read."""
    for cached in (located, syntax_tree, _by_finders):
        cached.cache_clear()


@cache
def syntax_tree(path: Path) -> ast.Module:
    """The syntax tree of a file. Raises BadInput for what is no Python."""
    try:
        return ast.parse(path.read_text(encoding="utf-8"), path.name)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: expected Python, found {type(error).__name__}: {error}") from None


def import_targets(statement: Import) -> dict[str, str]:
    """What each name that an import binds stands for: ``{"np": "numpy"}``, and ``{"c": ".a.b"}`` where it is ``b`` of
    ``.a``.
    """
    if isinstance(statement, ast.ImportFrom):
        origin = "." * statement.level + (f"{statement.module}." if statement.module else "")
        return {alias.asname or alias.name: origin + alias.name for alias in statement.names}
    # ``import a.b`` binds a
    tops = {alias.name.partition(".")[0] for alias in statement.names if not alias.asname}
    return {top: top for top in tops} | {alias.asname: alias.name for alias in statement.names if alias.asname}


def absolute(target: str, package: str) -> str:
    """A dotted name that may begin with dots, as it is meant in a package: ``a.c`` for ``..c`` in a.b."""
    rest = target.lstrip(".")
    parts, level = package.split("."), len(target) - len(rest)
    return ".".join(filter(None, [*(parts[: len(parts) - level + 1] if level else ()), rest]))
