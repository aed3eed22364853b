"""Which images there are, of which task and class: by a list in a CSV file. No image is opened.

Columns: ``image`` (a path relative to the list), ``task`` and ``label``; where they are there also ``split`` (train,
valid, test) and ``group`` (images of one group are never divided); others are left alone.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from mola.data.splits.image_rule import ListedImage
from mola.data.user.csv_table import Row, columns_of, table, unusable_files, whole_rows
from mola.data.user.image_lists import ImageList, check_names
from mola.task_names import task_name

NEEDED = ("image", "task", "label")
ADVICE = "; for a column of labels per task: benchmark: image_labels"


def has_tasks(path: Path) -> bool:
    """Whether a list has a row for each image and task, and not a column for each task."""
    return {*NEEDED} <= {*columns_of(path)}


def listed_csv(path: Path) -> ImageList:
    """List the images of a CSV file. Raises BadInput where it can't be read or lacks a column."""
    columns, rows = table(path, NEEDED, ADVICE)
    result = ImageList(path.parent, "csv")
    whole = whole_rows(rows, columns, NEEDED, result.findings)
    check_names({row.words["task"]: None for row in whole}, result.findings)
    result.images = [_image(row) for row in whole if "split" not in columns or row.split]
    _check(result, whole)
    return result


def csv_classes(path: Path) -> dict[str, set[str]]:
    """The classes of each task, sorted by task. Raises BadInput as ``listed_csv`` does."""
    classes: dict[str, set[str]] = defaultdict(set)
    for row in table(path, NEEDED, ADVICE)[1]:
        if row.words["task"] and row.words["label"]:
            classes[task_name(row.words["task"])].add(row.words["label"])
    return dict(sorted(classes.items()))


def _image(row: Row) -> ListedImage:
    words = row.words
    return ListedImage(task_name(words["task"]), words["label"], row.file, row.split, words.get("group", ""))


def _check(listed: ImageList, rows: list[Row]) -> None:
    """Add files that are not there, and images that are listed twice or with two labels."""
    gone = unusable_files(listed.folder, dict.fromkeys(image.file for image in listed.images), rows, listed.findings)
    first: dict[tuple[str, str], Row] = {}
    for row in rows:
        earlier = first.setdefault((task_name(row.words["task"]), row.file), row)
        if earlier is not row:
            listed.findings.add("images that a task has twice", [f"{row}, as in line {earlier.number}"])
    listed.images = list(dict.fromkeys(image for image in listed.images if image.file not in gone))
