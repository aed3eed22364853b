"""A CSV file as rows of words by column, and what lists of images have in common. No image is opened."""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mola.data.user.findings import Collected
from mola.registry import did_you_mean
from mola.types import BadInput, one_line

OPTIONAL = ("split", "group")
SPLITS = {"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"}
DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class Row:
    """A line of the list: its number in the file, and its words by column, without blanks around them."""

    number: int
    words: Mapping[str, str]

    def __str__(self) -> str:
        return f"line {self.number}: {one_line(self.words['image'], 120) or 'no image'}"

    @property
    def file(self) -> str:
        """The image, relative to the list's folder."""
        return posixpath.normpath(self.words["image"])

    @property
    def split(self) -> str:
        """Train, valid or test; "" where none is given."""
        return SPLITS.get(self.words.get("split", "").lower(), "")


def columns_of(path: Path) -> list[str]:
    """The names of the columns, in lower case. Raises BadInput where it is no list in UTF-8."""
    return table(path, ("image",))[0]


def table(path: Path, needed: Sequence[str], advice: str = "") -> tuple[list[str], list[Row]]:
    """The names of the columns, in lower case, and the rows that are not blank. Raises BadInput where it is no list in
    UTF-8, or lacks a column.

    advice: what the message of a missing column ends with.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            file.seek(0)
            delimiter = max(DELIMITERS, key=head.count)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            columns = [column.strip().lower() for column in next(reader, [])]
            _check_columns(path, columns, needed, advice)
            return columns, list(_rows(path, columns, reader))
    except OSError as error:
        raise BadInput(f"{path}: expected a list of images, found: {error.strerror or error}") from None
    except (UnicodeError, csv.Error) as error:
        raise BadInput(f"{path}: expected a list of images in UTF-8, found: {error}") from None


def whole_rows(rows: Sequence[Row], columns: Collection[str], needed: Sequence[str], findings: Collected) -> list[Row]:
    """The rows with a word in every needed column, and in those of OPTIONAL where they are there; adds the others."""
    needed = [*needed, *(column for column in OPTIONAL if column in columns)]
    for column in needed:
        findings.add(f"rows without {column}", [str(row) for row in rows if not row.words[column]])
    if "split" in columns:
        unknown = [f"{row} ({row.words['split']})" for row in rows if row.words["split"] and not row.split]
        findings.add("rows whose split is none of train, valid and test", unknown)
    findings.add("rows of images, expected some", [] if rows else ["none"])
    return [row for row in rows if all(row.words[column] for column in needed)]


def unusable_files(folder: Path, files: Collection[str], rows: Sequence[Row], findings: Collected) -> set[str]:
    """Those of some files that can't be read, as they are not there or have no fit path; adds them."""
    absolute = {file for file in files if posixpath.isabs(file)}
    findings.add("paths that are not relative to the list", sorted(absolute))
    unfit = {file for file in files if not file.isprintable()}
    findings.add("names of files that are no text in UTF-8", sorted(map(repr, unfit)))
    missing = {file for file in files if file not in absolute | unfit and not _is_file(folder / file)}
    findings.add("files that are not there", [str(row) for row in rows if row.file in missing])
    return absolute | missing | unfit


def _is_file(path: Path) -> bool:
    """Whether a file is there; a name that no file can have is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _check_columns(path: Path, columns: list[str], needed: Sequence[str], advice: str) -> None:
    missing = [column for column in needed if column not in columns]
    twice = [column for column in (*needed, *OPTIONAL) if columns.count(column) > 1]
    if missing or twice:
        actual = one_line(", ".join(columns), 120) or "an empty file"
        near = did_you_mean(missing[0], columns) if missing else ""
        wish = f"columns {', '.join(needed)}" if missing else f"every column once, {twice[0]} among them"
        raise BadInput(f"{path}: expected {wish}, found {actual}{near}{advice if missing else ''}")


def _rows(path: Path, columns: list[str], reader: Iterator[list[str]]) -> Iterator[Row]:
    for words in reader:
        if not any(word.strip() for word in words):
            continue
        number = reader.line_num  # type: ignore[attr-defined]
        if len(words) != len(columns):
            raise BadInput(f"{path}: line {number}: expected {len(columns)} columns, found {len(words)}")
        yield Row(number, {column: word.strip() for column, word in zip(columns, words, strict=True)})
