"""Which modules a module imports and where their files lie: nothing is imported to find out."""

from __future__ import annotations

import ast
import sys
import sysconfig
from functools import cache
from pathlib import Path

from mola.experiment.normal_form import Import, import_targets, is_type_checking, last_name

IMPORTERS = {"import_module", "__import__"}
INSTALLED = {"site-packages", "dist-packages"}
STANDARD = {Path(sysconfig.get_path(key)).resolve() for key in ("stdlib", "platstdlib")}


def imported(tree: ast.Module, name: str, is_package: bool) -> set[str]:
    """Dotted names of all that a module's code may import, at the top or inside a function: modules, names of modules,
    and attributes of imported packages, which may be modules as well.

    tree: the module's pruned syntax tree, so that imports for annotations are left out.
    name: the module's own name, from which relative imports count.
    """
    package = name if is_package else name.rpartition(".")[0]
    bound: dict[str, str] = {}
    targets: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, Import):
            here = {key: _absolute(target, package) for key, target in import_targets(node).items()}
            bound |= here
            targets |= {*here.values()}
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Call) and last_name(node.func) in IMPORTERS:
            targets |= _by_call(node, package)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".") if _is_dotted(node) else ("", "", "")
            if first in bound:
                targets.add(f"{bound[first]}.{rest}")
    return targets


def exports(source: str, name: str) -> dict[str, str]:
    """The names that a package offers lazily, as its ``if TYPE_CHECKING:`` block declares them, with what each stands
    for.
    """
    return {
        key: _absolute(target, name)
        for block in ast.walk(ast.parse(source))
        if isinstance(block, ast.If) and is_type_checking(block.test)
        for statement in block.body
        if isinstance(statement, Import)
        for key, target in import_targets(statement).items()
    }


def running(tree: ast.Module) -> ast.Module:
    """A module's code without what only defines something: functions, classes, imports, literals, dunder names. A
    definition that the rest uses stays.
    """
    definitions = {id(statement): _defined(statement) for statement in tree.body}
    kept = [statement for statement in tree.body if not definitions[id(statement)]]
    for statement in kept:
        used = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
        kept += [other for other in tree.body if definitions[id(other)] & used and other not in kept]
    return ast.Module([statement for statement in tree.body if statement in kept], [])


def find(name: str, root: Path, package: str, places: tuple[str, ...]) -> Path | None:
    """The file of a module, or the folder of a namespace package; None where there is none, or where it belongs to
    Python or to an installed distribution.

    root:    folder that holds ``package``, whose modules are looked up nowhere else.
    places:  folders where the other modules may lie, as in ``sys.path``.
    """
    parent, _, last = name.rpartition(".")
    if not parent:
        return _top(last, (str(root),) if last == package else places, last == package)
    above = find(parent, root, package, places)
    if above is None or (above.suffix and above.name != "__init__.py"):
        return None
    return _in(above.parent if above.suffix else above, last)


@cache
def _top(name: str, places: tuple[str, ...], is_own: bool) -> Path | None:
    if name in sys.builtin_module_names:
        return None
    namespace = None
    for place in places:
        path = _in(Path(place), name)
        if path is not None and path.suffix:
            return path if is_own or _is_local(path.resolve()) else None
        namespace = namespace or path
    return namespace if namespace and (is_own or _is_local(namespace.resolve())) else None


@cache
def _in(folder: Path, name: str) -> Path | None:
    choices = (folder / name / "__init__.py", folder / f"{name}.py")
    return next((p for p in choices if p.is_file()), folder / name if (folder / name).is_dir() else None)


def _is_local(path: Path) -> bool:
    return not INSTALLED & {*path.parts} and not any(path.is_relative_to(folder) for folder in STANDARD)


def _absolute(target: str, package: str) -> str:
    """``a.b`` for ``a:b``, and for ``.b`` in the package a."""
    dotted = target.replace(":", ".") if not target.startswith(".") else target
    level = len(dotted) - len(dotted.lstrip("."))
    if not level:
        return dotted
    parts = package.split(".")
    rest = dotted[level:].replace(":", ".").strip(".")
    return ".".join([*parts[: len(parts) - level + 1], *([rest] if rest else [])])


def _by_call(call: ast.Call, package: str) -> set[str]:
    """Of ``import_module("a.b")`` and ``import_module(".b", "a")``."""
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    name, anchor = ([*call.args, None, None])[:2]
    target = _literal_text(name or keywords.get("name"))
    return {_absolute(target, _literal_text(anchor or keywords.get("package")) or package)} if target else set()


def _literal_text(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _is_dotted(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and _is_dotted(node.value))


def _defined(statement: ast.stmt) -> set[str]:
    """The names that a statement defines and does nothing else; empty where it runs code."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, Import):
        return set(import_targets(statement))
    if isinstance(statement, ast.Assign) and all(isinstance(target, ast.Name) for target in statement.targets):
        names = {target.id for target in statement.targets if isinstance(target, ast.Name)}
        if _is_literal(statement.value) or all(name.startswith("__") and name.endswith("__") for name in names):
            return names
    return set()


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True
