"""What is wrong with a command of the documentation, found without running it: the real parsers read it, and what it
names has to be there.
"""

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import typer.main
from blocks import ROOT, Block

from mola.cli import USAGE_ERROR, app

# what only a reader has: a suite, images, a downloaded archive
READERS = {"my.yaml", "elsewhere/my.yaml", "photos", "PACS.zip", "FOLDER"}
# written by commands, under any name
OUTPUTS = ("results/", "data/", ".venv/", "exported/")
WRITES = {"--out", "--json", ">", "--export"}
SUFFIXES = (".yaml", ".py", ".json", ".md", ".zip", ".html", ".csv", ".txt", ".lock")
OTHER_PROGRAMS = {".", "cat", "cd", "git", "optuna-dashboard", "pre-commit", "uv", "docker"}


def commands(block: Block) -> Iterator[list[str]]:
    """The commands of a shell block, each as words, without comments."""
    for line in block.code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word not in (";", "&&", "||", "|"):
                words.append(word)
            elif words:
                yield words
                words = []


def problems(words: list[str], written: set[str]) -> Iterator[str]:
    """What is wrong with a command. written: the files that its page has told the reader to make."""
    program, *rest = words
    check = {"mola": _mola, "snakemake": _snakemake, "make": _make, "dvc": _dvc, "python": _python, "pip": _pip}
    if program in check:
        yield from check[program](rest)
    elif program not in OTHER_PROGRAMS and importlib.util.find_spec(program.replace("-", "_")) is None:
        # pytest, ruff, …: what the environment has
        yield f"{program}: no such program"
    for before, word in zip(words, rest, strict=False):
        if before not in WRITES and _is_path(word) and not _exists(word, written):
            yield f"{word}: no such file"


def files_written(page: Path) -> set[str]:
    """The files that a page makes the reader write: by `mola new`, by name before a block, or as a suite in YAML."""
    text = page.read_text()
    written = {
        f"{name}.yaml" for name in re.findall(r"mola new suite (\w+)|^suite: (\w+)", text, re.M) for name in name
    }
    return written | {f"{kind}s/{name}.py" for kind, name in re.findall(r"mola new (\w+) (\w+)", text)}


def unknown_options(code: str) -> list[str]:
    """The options of a command `mola …`, perhaps with placeholders, that it does not have; or the unknown command."""
    words = code.split()[1:]
    command = _root()
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return [words[0]]
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = [word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return [option for option in given if option not in known | {"--help"}]


@cache
def _root():
    return typer.main.get_command(app)


def _mola(words: list[str]) -> Iterator[str]:
    command, name = _root(), "mola"
    context = None
    try:
        while True:
            context = command.make_context(name, list(words), parent=context)
            if not hasattr(command, "commands"):
                return
            name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
    except USAGE_ERROR as error:
        yield f"mola: {error.format_message()}"


def _snakemake(words: list[str]) -> Iterator[str]:
    from snakemake.cli import parse_args

    _, arguments = parse_args(words)
    files = [ROOT / "workflow/Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    rules = re.findall(r"^rule (\w+):", "".join(file.read_text() for file in files), re.M)
    yield from (
        f"snakemake: no rule {target}" for target in arguments.targets if "/" not in target and target not in rules
    )


def _make(words: list[str]) -> Iterator[str]:
    text = (ROOT / "Makefile").read_text()
    targets, variables = re.findall(r"^([\w.-]+):", text, re.M), re.findall(r"^(\w+) \?=", text, re.M)
    for word in words:
        variable, assigned, _ = word.partition("=")
        if variable not in (variables if assigned else targets):
            yield f"make: no {'variable' if assigned else 'target'} {variable}"


def _dvc(words: list[str]) -> Iterator[str]:
    from dvc.cli import DvcParserError, parse_args

    try:
        parse_args(words)
    except DvcParserError:
        yield f"dvc: no such command: {' '.join(words)}"


def _python(words: list[str]) -> Iterator[str]:
    if words[0] == "-m" and words[1].startswith("mola") and importlib.util.find_spec(words[1]) is None:
        yield f"python: no module {words[1]}"
    if words[0] == "-c":
        compile(words[1], "-c", "exec")


def _pip(words: list[str]) -> Iterator[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for word in words:
        match = re.fullmatch(r"(mola[\w-]*|\.)\[(.*)\]", word)
        if match and match[1] not in (project["name"], "."):
            yield f"pip: the project is called {project['name']}, not {match[1]}"
        for extra in match[2].split(",") if match else []:
            if extra not in project["optional-dependencies"]:
                yield f"pip: no extra {extra}"


def _is_path(word: str) -> bool:
    plain = re.match(r"[\w./*-]+$", word) and not word.startswith("-")
    return bool(plain and ("/" in word or word.endswith(SUFFIXES)))


def _exists(word: str, written: set[str]) -> bool:
    return word in written | READERS or word.startswith(OUTPUTS) or any(ROOT.glob(word.removeprefix("./")))
