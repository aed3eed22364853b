"""Which images there are, with the labels of several tasks: by a CSV file with a column for each task. No image is
opened.

Columns: ``image`` (a path relative to the list), one for each task, and where they are there ``split`` and ``group``;
others are left alone. An empty field is a label that is not known.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mola.data.splits.label_rule import LabelledImage, Value
from mola.data.splits.label_splits import LabelKind, LabelTask
from mola.data.user.csv_table import OPTIONAL, Row, table, unusable_files, whole_rows
from mola.data.user.findings import Collected
from mola.data.user.image_lists import class_order
from mola.task_names import task_name
from mola.types import one_line

SEPARATORS = re.compile(r"[;|]")  # of several labels in a field
NONE = "none"  # in any case: the image is known to have none of the labels
UNKNOWN = ("na", "n/a", "nan")  # in any case, in a column of numbers: not known, as an empty field
MOST_CLASSES = 20  # different whole numbers that are taken for classes
LEAST = 3  # images of a class, one for each split; of words, on average
Kinds = Mapping[str, LabelKind]  # column → kind


@dataclass
class LabelList:
    """The images of a list, with what is wrong with them so far. tasks: by name, in the order of the columns' kinds."""

    folder: Path
    tasks: dict[str, LabelTask]
    images: list[LabelledImage] = field(default_factory=list)
    findings: Collected = field(default_factory=Collected)


def listed_labels(path: Path, kinds: Kinds) -> LabelList:
    """List the images of a CSV file. Raises BadInput where it can't be read or lacks a column."""
    columns, rows = table(path, _needed(kinds))
    result = LabelList(path.parent, _tasks(rows, kinds))
    findings = result.findings
    whole = whole_rows(rows, columns, ["image"], findings)
    _check_fields(whole, kinds, findings)
    gone = unusable_files(path.parent, dict.fromkeys(row.file for row in whole), whole, findings)
    first: dict[str, Row] = {}
    for row in whole:
        earlier = first.setdefault(row.file, row)
        if earlier is not row:
            findings.add("images that are listed twice", [f"{row}, as in line {earlier.number}"])
        elif row.file not in gone and ("split" not in columns or row.split):
            labels = {task_name(column): value for column, value in _values(row, kinds)}
            result.images.append(LabelledImage(labels, row.file, row.split, row.words.get("group", "")))
    return result


def label_tasks(path: Path, kinds: Kinds) -> dict[str, LabelTask]:
    """The tasks of a list, by name. Raises BadInput where it can't be read or lacks a column."""
    return _tasks(table(path, _needed(kinds))[1], kinds)


def likely_kinds(path: Path) -> dict[str, tuple[LabelKind | None, str]]:
    """Column → the kind of task that it seems to be, None for none, and what it holds, in words."""
    columns, rows = table(path, ("image",))
    guesses = {}
    for column in dict.fromkeys(columns):
        if column and column not in ("image", *OPTIONAL):
            guesses[column] = _likely(Counter(row.words[column] for row in rows), len(rows))
    return guesses


def _likely(words: Counter[str], rows: int) -> tuple[LabelKind | None, str]:
    missing = words.pop("", 0)
    known = f"{rows - missing} of {rows} known" if missing else "all known"
    numbers = {word: number for word in words if (number := _number(word)) is not None}
    if not words:
        return None, "empty"
    if len(numbers) == len(words):
        finite = [number for number in numbers.values() if math.isfinite(number)]
        whole = all(number.is_integer() for number in finite)
        if not finite:
            return None, f"no finite number; {known}"
        if whole and len(finite) == len(words) == rows - missing > MOST_CLASSES:
            return None, f"whole numbers that all differ, as of an index; {known}"
        if not whole or len(finite) > MOST_CLASSES or min(words.values()) < LEAST:
            return "regression", f"numbers from {min(finite):g} to {max(finite):g}; {known}"
        return "classes", f"{len(finite)} whole numbers, regression if their size counts; {known}"
    if any(SEPARATORS.search(word) for word in words):
        labels = Counter(label for word, number in words.items() for label in _labels(word) for _ in range(number))
        return "multilabel", f"{len(labels)} labels; {known}"
    shown = one_line(", ".join(class_order(words)[:4]), 60) + (", …" if len(words) > 4 else "")
    # a rare class is one all the same, and is named where it has too few images
    if 1 < len(words) <= (rows - missing) / LEAST:
        return "classes", f"{len(words)} classes ({shown}); {known}"
    return None, f"{len(words)} different texts ({shown}); {known}"


def _needed(kinds: Kinds) -> list[str]:
    return ["image", *(column.strip().lower() for column in kinds)]


def _tasks(rows: list[Row], kinds: Kinds) -> dict[str, LabelTask]:
    names: dict[str, set[str]] = {column: set() for column in kinds}
    for row in rows:
        for column, value in _values(row, kinds):
            if not isinstance(value, float):
                names[column] |= {value} if isinstance(value, str) else value
    return {task_name(column): LabelTask(kind=kind, names=class_order(names[column])) for column, kind in kinds.items()}


def _values(row: Row, kinds: Kinds) -> Iterator[tuple[str, Value]]:
    """Column → what is known of it, without words that are no numbers."""
    for column, kind in kinds.items():
        word = row.words[column.strip().lower()]
        if kind == "regression":
            number = _number(word)
            if number is not None and math.isfinite(number):
                yield column, number
        elif word:
            yield column, word if kind == "classes" else _labels(word)


def _check_fields(rows: list[Row], kinds: Kinds, findings: Collected) -> None:
    for column, kind in kinds.items():
        words = [(row, row.words[column.strip().lower()]) for row in rows]
        if kind == "regression":
            wrong = [(row, w) for row, w in words if (n := _number(w)) is None or math.isinf(n)]
            findings.add(f"fields of {column} that are no finite number", [f"{row}: {word}" for row, word in wrong])
        elif kind == "multilabel":
            wrong = [(row, w) for row, w in words if w and not _labels(w) and w.lower() != NONE]
            findings.add(f"fields of {column} without a label ({NONE} says so)", [f"{row}: {w}" for row, w in wrong])
            both = [(row, w) for row, w in words if len(_parts(w)) > 1 and NONE in map(str.lower, _parts(w))]
            findings.add(f"fields of {column} with labels and {NONE}", [f"{row}: {word}" for row, word in both])
        if not any(word for _, word in words):
            findings.add("columns of labels without a label", [column] if rows else [])
    if kinds:
        bare = [str(row) for row in rows if not any(row.words[column.strip().lower()] for column in kinds)]
        findings.add("rows without any label", bare)


def _number(word: str) -> float | None:
    """A number; NaN where it is not known; None for other words."""
    if not word or word.lower() in UNKNOWN:
        return math.nan
    try:
        # Python alone reads 1_000
        return None if "_" in word else float(word)
    except ValueError:
        return None


def _labels(words: str) -> frozenset[str]:
    return frozenset(word for word in _parts(words) if word.lower() != NONE)


def _parts(words: str) -> list[str]:
    return [part.strip() for part in SEPARATORS.split(words) if part.strip()]
