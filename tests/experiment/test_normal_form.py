"""What changes the normal form of a source and what does not; and that every version of Python agrees."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mola.experiment import normal_form as module
from mola.experiment.normal_form import normal_form

PACKAGE = Path(module.__file__).parents[1]
SOURCES = sorted(PACKAGE.rglob("*.py"))
VERSIONS = ["python3.11", "python3.12", "python3.13"]

SAME = {
    "comment": ("a = 1", "# why\na = 1  # so"),
    "docstring of a module": ('"""One."""\na = 1', '"""Two."""\na = 1'),
    "docstring of a function": ('def f():\n    "d"\n    return 1', "def f():\n    return 1"),
    "docstring instead of pass": ('class A:\n    """It."""', "class A:\n    pass"),
    "parentheses": ("a = 1", "a = (1)"),
    "wrapping": ("a = f(1, 2)", "a = f(\n    1,\n    2,\n)"),
    "quotes": ("a = 'x'", 'a = """x"""'),
    "neighbouring texts": ('a = "xy"', 'a = "x" "y"'),
    "underscores of a number": ("a = 1000", "a = 1_000"),
    "newlines at the end": ("a = 1", "a = 1\n\n\n"),
    "order of imports": ("import a\nimport b\nx = 1", "import b\nimport a\nx = 1"),
    "imports in one line": ("import a, b", "import b\nimport a"),
    "names of one import": ("from a import b, c", "from a import (\n    c,\n    b,\n)"),
    "an import twice": ("import a", "import a\nimport a"),
    "annotation of an argument": ("def f(a, *b, c=1, **d): ...", "def f(a: int, *b: str, c: int = 1, **d: X): ..."),
    "annotation of the result": ("async def f(): ...", "async def f() -> int: ..."),
    "annotation of a variable": ("a = 1", "a: int = 1"),
    "annotation of an attribute": ("def f(self):\n    self.a = 1", "def f(self):\n    self.a: int = 1"),
    "annotation alone": ("def f():\n    a = 1", "def f():\n    a: int\n    a = 1"),
    "type of a field": ("class A:\n    a: int = 1", "class A:\n    a: float | None = 1"),
    "imports for annotations": (
        "def f(a): ...",
        "from typing import Any\nimport typing as t\ndef f(a: Any) -> t.Any: ...",
    ),
    "future": ("a = 1", "from __future__ import annotations\na = 1"),
    "type checking": ("a = 1", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b\na = 1"),
    "typing.TYPE_CHECKING": ("a = 1", "import typing\nif typing.TYPE_CHECKING:\n    import b\na = 1"),
    "else of type checking": ("import a", "if TYPE_CHECKING:\n    import b\nelse:\n    import a"),
    "not type checking": ("import a", "if not TYPE_CHECKING:\n    import a"),
    "exports": ("a = 1", '__all__ = ["a"]\n__all__ += ["b"]\n__version__: str = "1"\na = 1'),
    "log text": ('log.info("%d steps", n)', 'log.info("did %d steps", n)'),
    "log f-string": ('log.info(f"{n} steps")', 'log.info(f"did {n} steps")'),
    "log concatenation": ('logger.warning("a" + str(n))', 'logger.warning("b" + str(n))'),
    "log format": ('logging.error("a {}".format(n))', 'logging.error("b {}".format(n))'),
    "description": ('a = Field(1, description="x")', 'a = Field(1, description="y")'),
    "description added": ("a = pydantic.Field(1)", 'a = pydantic.Field(1, description="x" "y")'),
    "type comment": ("a = []", "a = []  # type: list[int]"),
    "f-string without values": ('a = f"x"', 'a = "x"'),
    "f-string in pieces": ('a = f"x{b}y{{"', 'a = f"x" f"{b:}" "y{"'),
    "u-string": ("a = 'x'", "a = u'x'"),
    "empty else": ("if a:\n    b()", "if a:\n    b()\nelse:\n    pass"),
}

DIFFERENT = {
    "constant": ("a = 1", "a = 2"),
    "int and float": ("a = 1", "a = 1.0"),
    "int and bool": ("a = 1", "a = True"),
    "text and bytes": ("a = 'x'", "a = b'x'"),
    "sign of zero": ("a = 0.0", "a = -0.0"),
    "last bit of a float": ("a = 0.1", "a = 0.10000000000000002"),
    "float and complex": ("a = 1.0", "a = 1j"),
    "big integer": (f"a = {2**300}", f"a = {2**300 + 1}"),
    "None and Ellipsis": ("a = None", "a = ..."),
    "code on the line of a docstring": ('def f():\n    "d"; return 1.0', 'def f():\n    "d"; return 2.0'),
    "operator": ("a = b + c", "a = b - c"),
    "precedence": ("a = b * (c + d)", "a = b * c + d"),
    "order of arguments": ("f(a, b)", "f(b, a)"),
    "order of keywords": ("f(a=g(), b=h())", "f(b=h(), a=g())"),
    "order of statements": ("a()\nb()", "b()\na()"),
    "order of an import and code": ("import a\nb()", "b()\nimport a"),
    "the last import of a name": ("from a import x\nfrom b import x\nx", "from b import x\nfrom a import x\nx"),
    "a name that another module hands on": ("from mola.a import x", ""),
    "star imports": ("from a import *\nfrom b import *", "from b import *\nfrom a import *"),
    "a star import of typing": ("from typing import *", ""),
    "level of an import": ("from . import a", "from .. import a"),
    "alias of an import": ("import a as b", "import a as c"),
    "default": ("def f(a=1): ...", "def f(a=2): ..."),
    "default of a lambda": ("f = lambda a=1: a", "f = lambda a=2: a"),
    "keyword-only": ("def f(a, b): ...", "def f(a, *, b): ..."),
    "positional-only": ("def f(a, b): ...", "def f(a, /, b): ..."),
    "existence of a field": ("class A:\n    b = 1", "class A:\n    a: int\n    b = 1"),
    "attribute and field": ("class A:\n    a = 1", "class A:\n    a: int = 1"),
    "field and class variable": ("class A:\n    a: int = 1", "class A:\n    a: ClassVar[int] = 1"),
    "default of a field": ("class A:\n    a: int = 1", "class A:\n    a: int = 2"),
    "annotation that is dispatched on": ("@f.register\ndef _(a: int): ...", "@f.register\ndef _(a: str): ..."),
    "typing that runs": ("from typing import cast\ncast(a, b)", "cast(a, b)"),
    "decorator": ("@a\ndef f(): ...", "@b\ndef f(): ..."),
    "async": ("def f(): ...", "async def f(): ..."),
    "global": ("def f():\n    global a\n    a = 1", "def f():\n    a = 1"),
    "nonlocal": ("def f():\n    nonlocal a\n    a = 1", "def f():\n    a = 1"),
    "walrus": ("if (a := b): ...", "if (c := b): ..."),
    "star": ("f(*a)", "f(a)"),
    "pattern": ("match a:\n    case 1: b()", "match a:\n    case 2: b()"),
    "singleton pattern": ("match a:\n    case None: b()", "match a:\n    case False: b()"),
    "guard": ("match a:\n    case b if b: c()", "match a:\n    case b: c()"),
    "except star": ("try: a()\nexcept A: b()", "try: a()\nexcept* A: b()"),
    "finally": ("try: a()\nexcept A: b()", "try: a()\nfinally: b()"),
    "value of a log line": ('log.info("%d", n)', 'log.info("%d", n.pop())'),
    "text of another call": ('print("a")', 'print("b")'),
    "text of an error": ('raise E("a")', 'raise E("b")'),
    "default of a described field": ('a = Field(1, description="x")', 'a = Field(2, description="x")'),
    "a description elsewhere": ('a = f(description="x")', 'a = f(description="y")'),
    "format in an f-string": ('a = f"{b:.2f}"', 'a = f"{b:.3f}"'),
    "conversion in an f-string": ('a = f"{b!r}"', 'a = f"{b}"'),
    "text in an f-string": ('a = f"x{b}"', 'a = f"y{b}"'),
    "a text that looks like a value": ('a = f"{b}"', 'a = "{b}"'),
    "exports of a class": ("class A:\n    __all__ = 1", "class A:\n    __all__ = 2"),
    "body of a condition": ("if CHECKING:\n    a()", "if CHECKING:\n    b()"),
}

TRICKY = r"""
a = f"{1}{2!r:>{3}}a{{b}}" f"c{4=}" "d" f"{x:}" f"{y:%Y-%m-%d}" f'{d["k"]!s}' rf"\d{x}" f"{ x = !r}" f"{'in'}é\n"
b = [1e999, -0.0, 1j, 0x1F, b"\xff'", "\U0001fae8\u0378", ..., None, True, 2**70, "\ud800", f"", "\d"]
match x:
    case {"a": 1, **rest} | [1, *_] | None | -1 | Foo(a, b=2) as q if (w := 3): pass
    case _: ...
async def f(a, /, b: int = 1, *c, d, e=lambda q=2: q, **g) -> None:
    "d"; return 1.0
async def g():
    async with a as (b), c: await d
    try: pass
    except* (A, B): raise X from y
    return [i async for i in x if i for j in k], {**a, 'b': 1}, {*a}, a[1:2, ::3, *b], not x < y <= z
@deco(1)
class A(B, metaclass=C):
    x: int
    y: "ClassVar[int]" = 1
    def h(self): del a, (b); assert x, "m"; log.info(f"a{x}b")
"""

HASHES = """
import hashlib, json, runpy, sys
normal_form = runpy.run_path(sys.argv[1])["normal_form"]
print(json.dumps([hashlib.sha256(normal_form(source).encode()).hexdigest() for source in json.load(sys.stdin)]))
"""


@pytest.mark.parametrize(("before", "after"), SAME.values(), ids=SAME)
def test_what_changes_nothing(before, after):
    assert normal_form(before) == normal_form(after)


@pytest.mark.parametrize(("before", "after"), DIFFERENT.values(), ids=DIFFERENT)
def test_what_counts(before, after):
    assert normal_form(before) != normal_form(after)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_formatting_of_the_package_changes_nothing(path):
    source = path.read_text()
    assert normal_form(ast.unparse(ast.parse(source))) == normal_form(source)


CONSTANTS = st.one_of(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
)
VALUES = st.recursive(
    CONSTANTS, lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text("abé'"), inner), max_leaves=12
)


@given(VALUES)
def test_any_formatting_of_a_value_changes_nothing(value):
    source = f"a = {value!r}"
    assert normal_form(source) == normal_form(ast.unparse(ast.parse(source)))
    assert normal_form(source) == normal_form(f"a = (\n  {value!a}\n)\n# end\n")


@given(VALUES, VALUES)
def test_two_values_have_one_form_only_where_they_are_the_same(one, other):
    assert (normal_form(f"a = {one!r}") == normal_form(f"a = {other!r}")) == (repr(one) == repr(other))


@given(st.permutations(["import a", "import b.c", "from a import d", "from .e import f as g", "import h, i"]))
def test_imports_in_any_order(lines):
    assert normal_form("\n".join(lines)) == normal_form("\n".join(sorted(lines)))


@pytest.mark.parametrize("python", VERSIONS)
def test_versions_of_python_agree(python):
    if shutil.which(python) is None or subprocess.run([python, "-V"], capture_output=True, check=False).returncode:
        pytest.skip(f"no {python} that starts here")
    sources = [*[path.read_text() for path in SOURCES], TRICKY, *[text for pair in SAME.values() for text in pair]]
    output = subprocess.run(
        [python, "-c", HASHES, module.__file__],
        input=json.dumps(sources), capture_output=True, text=True, check=False, cwd=PACKAGE.parent,
    )  # fmt: skip
    assert output.returncode == 0, output.stderr
    assert json.loads(output.stdout) == [hashlib.sha256(normal_form(s).encode()).hexdigest() for s in sources]
