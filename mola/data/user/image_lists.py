"""Which images there are, of which task and class: by the folders that they lie in. No image is opened."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mola.data.prepare.photos import ENDINGS
from mola.data.splits.image_rule import ListedImage
from mola.data.user.findings import Collected
from mola.task_names import WISH, fits, task_name
from mola.types import BadInput

LIKE_SPLITS = {"train", "training", "val", "valid", "validation", "test"}
Classes = dict[str, set[str]]  # task → names of its classes


@dataclass
class ImageList:
    """The images of a folder or a CSV list, with what is wrong with them so far.

    others: number of files that are left out, by their ending.
    """

    folder: Path
    layout: Literal["domains", "csv"]
    images: list[ListedImage] = field(default_factory=list)
    findings: Collected = field(default_factory=Collected)
    others: Counter[str] = field(default_factory=Counter)

    @property
    def classes(self) -> Classes:
        """The names of the classes of each task."""
        classes: Classes = {}
        for image in self.images:
            classes.setdefault(image.task, set()).add(image.label)
        return classes


def check_names(tasks: Iterable[str], findings: Collected) -> None:
    """Add the names that no task can have."""
    names = list(tasks)
    unfit = [name for name in names if not fits(task_name(name))]
    findings.add(f"names that a task can't have (expected {WISH})", unfit)
    twice = [name for name, number in Counter(map(task_name, names)).items() if number > 1]
    findings.add("tasks of one name, apart from blanks", twice)


def folder_classes(root: Path) -> Classes:
    """The classes of each task in a folder, by the names of folders alone."""
    classes = {task_name(domain.name): {each.name for each in _folders(domain)} for domain in _folders(root)}
    return dict(sorted(classes.items()))


def listed_folder(root: Path) -> ImageList:
    """List ``<domain>/<class>/<image>``; a domain is a task. Raises BadInput where there is no such folder."""
    if not root.is_dir():
        raise BadInput(
            f"{root}: expected a folder of images or a CSV file, found {'a file' if root.exists() else 'none'}"
        )
    result = ImageList(root, "domains")
    domains = _folders(root)
    names = [domain.name for domain in domains]
    result.findings.add("images outside of <domain>/<class>/", _images(root, "", result))
    if names and LIKE_SPLITS.issuperset(map(str.lower, names)):
        wish = "folders named like splits, expected domains (a CSV list may give splits)"
        result.findings.add(wish, names)
    else:
        check_names(names, result.findings)
    for domain in domains:
        result.findings.add("images outside of <domain>/<class>/", _images(domain, f"{domain.name}/", result))
        classes = _folders(domain)
        result.findings.add("domains without a folder of a class", [domain.name] if not classes else [])
        for each in classes:
            place = f"{domain.name}/{each.name}/"
            files = _images(each, place, result)
            deeper = [file for inner in _folders(each) for file in _images(inner, f"{place}{inner.name}/", result)]
            result.findings.add("images deeper than <domain>/<class>/", deeper)
            result.findings.add("folders of a class without an image", [place] if not files else [])
            result.images += [ListedImage(task_name(domain.name), each.name, file) for file in files]
    result.findings.add("folders <domain>/<class>/ with images, expected some", [] if domains else ["none"])
    _check_text(result)
    return result


def class_order(names: Iterable[str]) -> list[str]:
    """Sort the names of classes: numbers by their value, before other names."""
    return sorted(names, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))


def numbered(classes: Mapping[str, set[str]], kind: Literal["auto", "shared", "per_task"]) -> dict[str, list[str]]:
    """The classes of each task, in the order of their labels.

    shared: all tasks have all classes. per_task: each has its own ones. auto: shared where two tasks have a class in
    common, or there is one task.
    """
    every = set().union(*classes.values())
    apart = sum(map(len, classes.values())) == len(every) and len(classes) > 1
    if kind == "per_task" or (kind == "auto" and apart):
        return {task: class_order(names) for task, names in classes.items()}
    return dict.fromkeys(classes, class_order(every))


def _check_text(listed: ImageList) -> None:
    unfit = [image.file for image in listed.images if not image.file.isprintable()]
    listed.findings.add("names of files that are no text in UTF-8", map(repr, unfit))
    listed.images = [image for image in listed.images if image.file.isprintable()]


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))


def _images(folder: Path, place: str, listed: ImageList) -> list[str]:
    """The images directly in a folder, sorted; other files are counted."""
    names = []
    for entry in os.scandir(folder):
        if entry.name.startswith(".") or not entry.is_file():
            continue
        if entry.name.lower().endswith(ENDINGS):
            names.append(place + entry.name)
        elif entry.name not in ("Thumbs.db", "desktop.ini"):
            listed.others[Path(entry.name).suffix.lower() or "none"] += 1
    return sorted(names)
