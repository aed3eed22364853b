"""Which modules the code of a module imports, and what of it runs: nothing is imported to find out."""

from __future__ import annotations

import ast

from mola.experiment.normal_form import is_type_checking, last_name
from mola.registry import KINDS, module, names
from mola.source import PACKAGE, Import, absolute, import_targets

IMPORTERS = {"importlib.import_module", "import_module", "__import__"}


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
            here = {key: absolute(target, package) for key, target in import_targets(node).items()}
            bound |= here
            targets |= {*here.values()}
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = last_name(node.func)
            if function in IMPORTERS or bound.get(function) in IMPORTERS:
                targets |= _by_call(node, package, _texts(tree))
            elif function in ("load", "create"):
                targets |= _registered(node)
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
        key: absolute(target, name)
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


def _by_call(call: ast.Call, package: str, texts: dict[str, str]) -> set[str]:
    """Of ``import_module("a.b")``, ``import_module(".b", "a")`` and ``import_module(NAME)``, NAME a constant text."""
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    name, anchor = ([*call.args, None, None])[:2]
    target = _text(name or keywords.get("name"), texts)
    return {absolute(target, _text(anchor or keywords.get("package"), texts) or package)} if target else set()


def _registered(call: ast.Call) -> set[str]:
    """Of ``registry.load("methods", "mmoe")``, and of ``registry.create`` alike."""
    text, name = (_text(argument, {}) for argument in (*call.args[:2], None, None)[:2])
    kind = next((kind for kind in KINDS if kind == text), None)
    if kind is None or not name:
        return set()
    return {module(kind, name) if name in names(kind) else f"{PACKAGE}.{kind}.{name}"}


def _texts(tree: ast.Module) -> dict[str, str]:
    """The constants at the top of a module that are texts."""
    return {
        target.id: _text(statement.value, {})
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def _text(node: ast.expr | None, texts: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return texts.get(node.id, "")
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
