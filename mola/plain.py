"""What a configuration may hold: plain data, and names and paths that can become folders, rows of tables, shell words
and wildcards.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path

from mola.types import BadInput, one_line

# levels of nested lists and mappings; values with every alias written out; characters of text that count as one more
DEPTH, VALUES, LONG = 32, 20_000, 64
# control characters but for tabs and line breaks, and lone surrogates, which no encoding takes
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
LABEL = r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}$"
NAME = "a name that can be a folder: at most 100 letters, digits and _ . + -, a letter or digit first"
# folders of a suite's results that stand where those of its benchmarks do
RESERVED = ("tables", "figures")
# what the tables and figures over all benchmarks are called, where those of one have its label
SUMMARY = "summary"
# control characters, line breaks too, lone surrogates, and the braces of Snakemake's wildcards
UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{}]")


def check(content: object) -> None:
    """Raise BadInput, naming the key, for what is no plain data: dates, NaN, integers beyond 64 bits, control
    characters, keys that are no text, and more or deeper values than any configuration has.
    """
    size = 0
    stack: list[tuple[str, object, int]] = [("", content, 0)]
    while stack:
        key, value, depth = stack.pop()
        size += 1 + (len(value) // LONG if isinstance(value, str) else 0)
        problem = _problem(value)
        if depth > DEPTH:
            problem = f"at most {DEPTH} levels, found more"
        elif size > VALUES:
            problem = f"at most {VALUES} values of {LONG} characters, found more"
        if problem:
            raise BadInput(f"{key or 'the file'}: expected {problem}")
        if isinstance(value, Mapping):
            if wrong := [name for name in value if not isinstance(name, str) or _problem(name)]:
                raise BadInput(f"{key or 'the file'}: expected text as key, found {one_line(repr(wrong[0]), 80)}")
            size += sum(len(name) // LONG for name in value)
            stack += [(one_line(f"{key}.{name}".strip("."), 80), value[name], depth + 1) for name in reversed(value)]
        elif isinstance(value, list):
            stack += [(key, one, depth + 1) for one in reversed(value)]


def _problem(value: object) -> str:
    """What was expected instead of a value, and what it is; empty for plain data."""
    if isinstance(value, str):
        return f"text without control characters, found {one_line(repr(value), 80)}" if CONTROL.search(value) else ""
    if isinstance(value, int):
        return "" if -(2**63) <= value < 2**63 else "an integer of at most 64 bits, found a longer one"
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"a finite number, found {value}"
    if value is None or isinstance(value, (list, Mapping, Path)):
        return ""
    return f"text or a number, found a {type(value).__name__}; put dates in quotes"


def check_label(text: str, where: str) -> str:
    """The label of a benchmark or of a row, as it is. Raises BadInput where it can't be a folder or a shell word."""
    # fullmatch, as $ alone lets a line break pass
    if not re.fullmatch(LABEL, text):
        wish = NAME
    elif text in RESERVED:
        wish = f"another name than {' and '.join(RESERVED)}, which are folders of the results"
    else:
        return text
    raise BadInput(f"{where}: expected {wish}, found {one_line(repr(text), 80)}")


def check_benchmark_label(text: str) -> str:
    """The label of a benchmark, as it is. Raises BadInput where ``check_label`` does, and where the names of files of
    results, ``<label>.<what it is>``, would mean another thing too.
    """
    if "." in text or text == SUMMARY:
        wish = f"a label without a full stop, and not {SUMMARY}: files of results are called <label>.<what it is>"
        raise BadInput(f"benchmarks: expected {wish}; found {one_line(repr(text), 80)}")
    return check_label(text, "benchmarks")


def check_path(path: Path) -> Path:
    """The path of a file or folder, as it is; it may hold spaces. Raises ValueError where no file system takes it or
    the workflow can't name it.
    """
    if UNFIT.search(str(path)):
        raise ValueError("expected a path without control characters and braces")
    if len(os.fsencode(path)) > 1000 or any(len(os.fsencode(part)) > 255 for part in path.parts):
        raise ValueError("expected a path of at most 1000 bytes, 255 in a name")
    return path


def check_heading(text: str) -> str:
    """A heading, as it is. Raises ValueError where it is more than one line of 200 characters."""
    if UNFIT.search(text.replace("{", "").replace("}", "")) or len(text) > 200:
        raise ValueError("expected one line of at most 200 characters")
    return text
