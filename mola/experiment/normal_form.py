"""A canonical text of what a module does, the same on Python 3.11, 3.12 and 3.13.

Two sources have the same normal form where they differ only in what changes no result: comments, docstrings,
formatting, the order of neighbouring imports, annotations, ``if TYPE_CHECKING:`` blocks, ``__all__`` and
``__version__``, the texts of log messages and the descriptions of fields. Everything else counts.
The writer is our own because ``ast.dump`` differs between versions of Python.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from itertools import groupby

from mola.source import PACKAGE, Import, import_targets

Function = ast.FunctionDef | ast.AsyncFunctionDef

LOGGERS = {"log", "logger", "logging"}
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}

# What is imported by name from another package, or from these modules, counts where code outside annotations uses it.
# From the other modules of this package it always counts: a module may hand it on.
NAMES_TYPES = {"mola.types"}
TYPING = {"typing", "typing_extensions", "collections.abc"}

# Around the type of a field these change what a dataclass does with it.
FIELD_MARKERS = {"ClassVar", "InitVar", "KW_ONLY"}

# Decorators that read annotations (functools.singledispatch, PyTorch's custom operators, torch.jit).
READS_ANNOTATIONS = {"register", "custom_op", "triton_op", "script", "validate_call"}

# Fields of syntax nodes that say how the source is written, or that the place of a node decides already.
UNWRITTEN = {"ctx", "kind", "simple", "type_comment", "type_ignores", "type_params"}


def normal_form(source: str) -> str:
    """The canonical text of a module's source. Raises SyntaxError or ValueError where that is no Python."""
    return written(pruned(source))


def pruned(source: str, all_imports: bool = False) -> ast.Module:
    """The module's syntax tree without what changes no result, with one name per import, and imports sorted.

    all_imports: keep those that only annotations use, but for typing's: their modules run all the same.
    """
    with warnings.catch_warnings():
        # "\d" in a text is the module's own matter
        warnings.simplefilter("ignore")
        tree = ast.parse(source)
    _Pruner().visit(tree)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for node in ast.walk(tree):
        for field, value in ast.iter_fields(node):
            if isinstance(value, list) and any(isinstance(item, Import) for item in value):
                setattr(node, field, list(_arranged(value, used, all_imports)))
    return tree


def written(tree: ast.Module) -> str:
    """One line per statement of the module."""
    return "".join(f"{_write(statement)}\n" for statement in tree.body)


def is_type_checking(test: ast.expr) -> bool:
    """Whether the condition of an ``if`` is ``TYPE_CHECKING`` or ``typing.TYPE_CHECKING``."""
    return last_name(test) == "TYPE_CHECKING"


class _Pruner(ast.NodeTransformer):
    """Takes out of a tree what changes no result."""

    def __init__(self) -> None:
        # the kinds of the definitions around a statement
        self._scopes: list[type[ast.AST]] = [ast.Module]

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._within(node)

    def visit_FunctionDef(self, node: Function) -> ast.AST:
        if not any(last_name(decorator) in READS_ANNOTATIONS for decorator in node.decorator_list):
            node.returns = None
            for argument in ast.walk(node.args):
                if isinstance(argument, ast.arg):
                    argument.annotation = None
        return self._within(node)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        self.generic_visit(node)
        return None if isinstance(node.value, ast.Constant) else node

    def visit_Pass(self, node: ast.Pass) -> None:
        return None

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        if isinstance(node.test, ast.UnaryOp) and is_type_checking(node.test.operand):
            return node.body
        return node.orelse if is_type_checking(node.test) else node

    def visit_Import(self, node: ast.Import) -> list[ast.Import]:
        return [ast.Import([alias]) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.ImportFrom]:
        if node.module == "__future__":
            return []
        return [ast.ImportFrom(node.module, [alias], node.level) for alias in node.names]

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        return None if self._names_exports(*node.targets) else self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST | None:
        return None if self._names_exports(node.target) else self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        """In a class an annotation makes a field, whose existence counts; elsewhere it says nothing."""
        if self._names_exports(node.target):
            return None
        if self._scopes[-1] is ast.ClassDef:
            marker = last_name(node.annotation)
            node.annotation = ast.Name(marker if marker in FIELD_MARKERS else "")
            return self.generic_visit(node)
        return None if node.value is None else self.generic_visit(ast.Assign([node.target], node.value))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if _is_log(node.func):
            node.args = [kept for argument in node.args for kept in _without_text(argument)]
        if last_name(node.func) == "Field":
            node.keywords = [k for k in node.keywords if k.arg != "description" or list(_without_text(k.value))]
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        """Neighbouring constants become one: versions of Python split them differently."""
        self.generic_visit(node)
        values: list[ast.expr] = []
        for value in node.values:
            if isinstance(value, ast.Constant) and values and isinstance(values[-1], ast.Constant):
                values[-1] = ast.Constant(f"{values[-1].value!s}{value.value!s}")
            elif not isinstance(value, ast.Constant) or value.value:
                values.append(value)
        if any(not isinstance(value, ast.Constant) for value in values):
            return ast.JoinedStr(values)
        return values[0] if values else ast.Constant("")

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.format_spec, ast.Constant) and not node.format_spec.value:
            node.format_spec = None
        return node

    def _within(self, node: ast.AST) -> ast.AST:
        self._scopes.append(type(node))
        self.generic_visit(node)
        self._scopes.pop()
        return node

    def _names_exports(self, *targets: ast.expr) -> bool:
        names = {target.id if isinstance(target, ast.Name) else None for target in targets}
        return self._scopes[-1] is ast.Module and names <= {"__all__", "__version__"}


def _arranged(statements: list[ast.stmt], used: set[str], all_imports: bool) -> Iterator[ast.stmt]:
    """The statements with every run of imports sorted, and without imports that only annotations used."""
    for _, run in groupby(statements, lambda statement: isinstance(statement, Import)):
        neighbours = list(run)
        imports = [s for s in neighbours if isinstance(s, Import) and _counts(s, used, all_imports)]
        yield from _sorted(imports) if isinstance(neighbours[0], Import) else neighbours


def _counts(statement: Import, used: set[str], all_imports: bool) -> bool:
    """Whether an import may do more than name types for annotations."""
    if isinstance(statement, ast.Import):
        counts = statement.names[0].name not in TYPING
    else:
        origin = statement.module or ""
        is_ours = statement.level > 0 or origin.partition(".")[0] == PACKAGE
        counts = origin not in TYPING if all_imports else is_ours and origin not in NAMES_TYPES
    return counts or bool((used | {"*"}) & {*import_targets(statement)})


def _sorted(imports: list[Import]) -> list[Import]:
    """In the order of their text, unless two bind the same name to different things: then the last one counts."""
    bound: dict[str, str] = {}
    for statement in imports:
        for name, target in import_targets(statement).items():
            if name == "*" or bound.setdefault(name, target) != target:
                return imports
    return [statement for _, statement in sorted({_write(statement): statement for statement in imports}.items())]


def _is_log(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr in LOG_METHODS and last_name(function.value) in LOGGERS


def _without_text(node: ast.expr) -> Iterator[ast.expr]:
    """The parts of a message that are no constant text: the values put into it."""
    if isinstance(node, ast.JoinedStr):
        for value in node.values:
            yield from _without_text(value)
    elif isinstance(node, ast.FormattedValue):
        yield node.value
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        yield from _without_text(node.left)
        yield from _without_text(node.right)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        yield from _without_text(node.func.value)
        yield from [*node.args, *[keyword.value for keyword in node.keywords]]
    elif not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        yield node


def last_name(node: ast.expr) -> str:
    """``c`` of ``a.b.c``, of ``a.b.c[…]`` and of ``a.b.c(…)``; of a text annotation that of its content."""
    if isinstance(node, ast.Subscript):
        return last_name(node.value)
    if isinstance(node, ast.Call):
        return last_name(node.func)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.partition("[")[0].rpartition(".")[2].strip()
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _write(value: object) -> str:
    if isinstance(value, ast.Constant):
        return _constant(value.value)
    if isinstance(value, ast.AST):
        fields = [(n, v) for n, v in ast.iter_fields(value) if n not in UNWRITTEN and v is not None and v != []]
        return f"{type(value).__name__}({', '.join([f'{name}={_write(child)}' for name, child in fields])})"
    if isinstance(value, list):
        return f"[{', '.join([_write(item) for item in value])}]"
    return ascii(value)


def _constant(value: object) -> str:
    """With its type, and exactly: floats in hexadecimal, text in ASCII (what prints depends on Python's version)."""
    if isinstance(value, complex):
        return f"complex:{value.real.hex()}:{value.imag.hex()}"
    if isinstance(value, float):
        return f"float:{value.hex()}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"int:{value:x}"
    return f"{type(value).__name__}:{value!a}"
