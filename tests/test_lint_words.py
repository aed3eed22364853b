"""The lint of words: each way to bind a name that says nothing is refused, and usual code passes."""

import subprocess
import sys
from pathlib import Path

import lint_words
import pytest

SCRIPT = Path(lint_words.__file__)


@pytest.fixture
def lint(capsys):
    """Check a folder: the exit code, and the lines that were printed."""

    def check(root):
        code = lint_words.main([str(root)])
        return code, capsys.readouterr().out.splitlines()

    return check


@pytest.mark.parametrize(
    "code",
    [
        "told = 1",
        "_told = 1",
        "told: int = 1",
        "told += 1",
        "self.told = 1",
        "a, (b, *told) = x",
        "if (told := f()): pass",
        "for told in x: pass",
        "with f() as told: pass",
        "y = [told for told in x]",
        "y = lambda told: 1",
        "def told(): pass",
        "async def told(): pass",
        "class told: pass",
        "class A:\n    told: int",
        "def f(told): pass",
        "def f(*told): pass",
        "def f(*, told=1): pass",
        "def f(**told): pass",
        "import json as told",
        "try: pass\nexcept ValueError as told: pass",
        "match x:\n    case [1, *told]: pass",
        "match x:\n    case {1: 2, **told}: pass",
        "match x:\n    case int() as told: pass",
    ],
)
def test_every_way_to_bind_a_name(lint, tmp_path, code):
    (tmp_path / "code.py").write_text(f"import os\n{code}\n")
    status, (line,) = lint(tmp_path)
    assert status == 1
    file, number, name, advice = line.split(":", 3)
    assert Path(file) == tmp_path / "code.py"
    assert 2 <= int(number) <= 4
    assert name.strip().lstrip("_") == "told"
    assert "message" in advice


@pytest.mark.parametrize("word", ["told", "found", "wanted", "made", "own", "seen", "beside", "room", "cell"])
def test_every_word(lint, tmp_path, word):
    (tmp_path / "code.py").write_text(f"{word} = 1\n")
    status, (line,) = lint(tmp_path)
    assert status == 1
    assert f"code.py:1: {word}: say " in line


@pytest.mark.parametrize(
    "name",
    ["natural", "growing", "rivals", "bars", "beside", "parts", "life", "fan_out", "trees", "_life", "test_life"],
)
@pytest.mark.parametrize("form", ["{}.py", "{}/code.py"])
def test_names_of_files_and_folders(lint, tmp_path, name, form):
    file = tmp_path / form.format(name)
    file.parent.mkdir(exist_ok=True)
    file.write_text("")
    status, (line,) = lint(tmp_path)
    assert status == 1
    assert line.startswith(f"{file}:1: module {name}")
    assert lint(file)[0] == int(form == "{}.py")  # folders above the path that is asked for are not checked


@pytest.mark.parametrize("bracket", ["()", "[]", "{}"])
def test_a_comment_behind_an_opening_bracket(lint, tmp_path, bracket):
    (tmp_path / "code.py").write_text(f"a = {bracket[0]}  # why\n{bracket[1]}\n")
    status, (line,) = lint(tmp_path)
    assert status == 1
    assert "code.py:1: comment behind an opening bracket" in line


def test_usual_code_passes(lint, tmp_path):
    (tmp_path / "partial.py").write_text(
        "# found, told: words of a sentence\n"
        "a = f(  # noqa: B008\n"
        ")\n"
        "b = [\n"
        "    # above its line\n"
        "    1,  # behind a value\n"
        "]  # behind a closing bracket\n"
        "c = '(  # in a string'\n"
        "d = a.found + lookup['told']\n"
        "own_mean = cells = Room = f(found=1)\n"
    )
    assert lint(tmp_path) == (0, [])


def test_the_command(tmp_path):
    (tmp_path / "code.py").write_text("a = 1\n")
    for path, code in ((tmp_path / "code.py", 0), (tmp_path / "none", 1)):
        assert (
            subprocess.run([sys.executable, str(SCRIPT), str(path)], capture_output=True, check=False).returncode
            == code
        )
