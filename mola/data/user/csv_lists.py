"""Which images there are, of which task and class: by a list in a CSV file. No image is opened.

Columns: ``image`` (a path relative to the list), ``task`` and ``label``; where they are there also ``split`` (train,
valid, test) and ``group`` (images of one group are never divided); others are left alone.
"""

from __future__ import annotations

import csv
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mola.data.splits.image_rule import ListedImage
from mola.data.user.image_lists import ImageList, check_names, task_name
from mola.registry import did_you_mean
from mola.types import BadInput, one_line

NEEDED, OPTIONAL = ("image", "task", "label"), ("split", "group")
SPLITS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}
DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class Row:
    """A line of the list: its number in the file, and its words by column, without blanks around them."""

    number: int
    words: Mapping[str, str]

    def __str__(self) -> str:
        return f"line {self.number}: {one_line(self.words['image'], 120) or 'no image'}"


def listed_csv(path: Path) -> ImageList:
    """List the images of a CSV file. Raises BadInput where it can't be read or lacks a column."""
    columns, rows = _table(path)
    result = ImageList(path.parent, "csv")
    findings = result.findings
    needed = [*NEEDED, *(column for column in OPTIONAL if column in columns)]
    for column in needed:
        findings.add(f"rows without {column}", [str(row) for row in rows if not row.words[column]])
    if "split" in columns:
        unknown = [f"{row} ({row.words['split']})" for row in rows if row.words["split"].lower() not in {"", *SPLITS}]
        findings.add("rows whose split is none of train, valid and test", unknown)
    findings.add("rows of images, expected some", [] if rows else ["none"])
    whole = [row for row in rows if all(row.words[column] for column in needed)]
    check_names({row.words["task"]: None for row in whole}, findings)
    result.images = [_image(row) for row in whole if row.words.get("split", "train").lower() in SPLITS]
    _check(result, whole)
    return result


def csv_classes(path: Path) -> dict[str, set[str]]:
    """The classes of each task, sorted by task. Raises BadInput as ``listed_csv`` does."""
    classes: dict[str, set[str]] = defaultdict(set)
    for row in _table(path)[1]:
        if row.words["task"] and row.words["label"]:
            classes[task_name(row.words["task"])].add(row.words["label"])
    return dict(sorted(classes.items()))


def _image(row: Row) -> ListedImage:
    words = row.words
    split = SPLITS.get(words.get("split", "").lower(), "")
    file = posixpath.normpath(words["image"])
    return ListedImage(task_name(words["task"]), words["label"], file, split, words.get("group", ""))


def _check(listed: ImageList, rows: list[Row]) -> None:
    """Add files that are not there, and images that are listed twice or with two labels."""
    absolute = {image.file for image in listed.images if posixpath.isabs(image.file)}
    listed.findings.add("paths that are not relative to the list", sorted(absolute))
    unfit = {image.file for image in listed.images if not image.file.isprintable()}
    listed.findings.add("names of files that are no text in UTF-8", sorted(map(repr, unfit)))
    files = dict.fromkeys(image.file for image in listed.images)
    missing = {file for file in files if file not in absolute | unfit and not (listed.folder / file).is_file()}
    listed.findings.add("files that are not there", [str(row) for row in rows if _file(row) in missing])
    first: dict[tuple[str, str], Row] = {}
    for row in rows:
        earlier = first.setdefault((task_name(row.words["task"]), _file(row)), row)
        if earlier is not row:
            listed.findings.add("images that a task has twice", [f"{row}, as in line {earlier.number}"])
    gone = absolute | missing | unfit
    listed.images = list(dict.fromkeys(image for image in listed.images if image.file not in gone))


def _file(row: Row) -> str:
    return posixpath.normpath(row.words["image"])


def _table(path: Path) -> tuple[list[str], list[Row]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            file.seek(0)
            delimiter = max(DELIMITERS, key=head.count)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            columns = [column.strip().lower() for column in next(reader, [])]
            _check_columns(path, columns)
            return columns, list(_rows(path, columns, reader))
    except OSError as error:
        raise BadInput(f"{path}: expected a list of images, found: {error.strerror or error}") from None
    except (UnicodeError, csv.Error) as error:
        raise BadInput(f"{path}: expected a list of images in UTF-8, found: {error}") from None


def _check_columns(path: Path, columns: list[str]) -> None:
    missing = [column for column in NEEDED if column not in columns]
    twice = [column for column in (*NEEDED, *OPTIONAL) if columns.count(column) > 1]
    if missing or twice:
        actual = one_line(", ".join(columns), 120) or "an empty file"
        near = did_you_mean(missing[0], columns) if missing else ""
        wish = f"columns {', '.join(NEEDED)}" if missing else f"every column once, {twice[0]} among them"
        raise BadInput(f"{path}: expected {wish}, found {actual}{near}")


def _rows(path: Path, columns: list[str], reader: Iterator[list[str]]) -> Iterator[Row]:
    for words in reader:
        if not any(word.strip() for word in words):
            continue
        number = reader.line_num  # type: ignore[attr-defined]
        if len(words) != len(columns):
            raise BadInput(f"{path}: line {number}: expected {len(columns)} columns, found {len(words)}")
        yield Row(number, {column: word.strip() for column, word in zip(columns, words, strict=True)})
