"""RadImageNet's lists of images, and what their paths say: modality, anatomy, finding.

Known from public text (issue 17 of BMEII-AI/RadImageNet, and code that reads the data): ``CT/lung/<finding>``,
``CT/abd``, ``MR/af`` (ankle and foot), ``MR/knee``, ``MR/brain``, ``US/<finding>`` without a folder for the anatomy,
``US/thyroid`` among these. Inferred, as nobody has the data without a request: that the other folders of MR have the
anatomy's name in theirs, that the thyroid's second finding has the thyroid's, and which of the two anatomies with 14
findings MoLA has first, shoulder or hip. The numbers of findings are checked, so that a wrong inference is an error.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path

from mola.types import BadInput

TREE = "radiology_ai"  # the archive's only folder
# task → modality, what names its folder (of ultrasound, its findings' folders), findings
ANATOMIES = {
    "ct_lung": ("CT", "lung|chest", 6),
    "ct_abdomen": ("CT", "abd", 28),
    "us_thyroid": ("US", "thyroid", 2),
    "us_abdomen": ("US", "^(?!.*thyroid)", 13),
    "mr_knee": ("MR", "knee", 18),
    "mr_shoulder": ("MR", "shoulder", 14),
    "mr_spine": ("MR", "spine", 9),
    "mr_ankle_foot": ("MR", "^af$|ankle|foot", 25),
    "mr_abdomen": ("MR", "abd", 26),
    "mr_brain": ("MR", "brain", 10),
    "mr_hip": ("MR", "hip", 14),
}
THEIRS = ("train", "val", "test")
Listed = dict[str, dict[str, list[str]]]  # task → finding → images


def listed(path: Path) -> Listed:
    """Read the images of a list, RadiologyAI_{train,val,test}.csv. Raises BadInput where it is no such list."""
    by_task: Listed = {task: {} for task in ANATOMIES}
    folders: dict[str, list[str]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            head = next(rows, [])
            if "filename" not in head:
                raise BadInput(f"{path}: expected a column 'filename', found {', '.join(head)[:80] or 'an empty file'}")
            column = head.index("filename")
            for name in (row[column] for row in rows if len(row) > column):
                folder = name.rpartition("/")[0]
                # 165 times, in a loop over a million rows
                if folder not in folders:
                    task, finding = _anatomy(path, name)
                    folders[folder] = by_task[task].setdefault(finding, [])
                folders[folder].append(name)
    except (UnicodeError, csv.Error) as error:
        raise BadInput(f"{path}: expected a list of images, found: {error}") from None
    return by_task


def _anatomy(path: Path, name: str) -> tuple[str, str]:
    """Return task and finding of an image. Raises BadInput where its path names none."""
    folders = name.split("/")[:-1]
    if (
        len(folders) > 2
        and len(folders) == (3 if folders[1] == "US" else 4)
        and folders[0] == TREE
        and ".." not in folders
    ):
        tasks = [
            task
            for task, (modality, pattern, _) in ANATOMIES.items()
            if modality == folders[1] and re.search(pattern, folders[2], re.I)
        ]
        if len(tasks) == 1:
            return tasks[0], folders[-1]
    expected = f"{TREE}/<CT or MR>/<anatomy>/<finding>/<image> or {TREE}/US/<finding>/<image>"
    raise BadInput(f"{path}: expected images of the 11 anatomies as {expected}, found '{name}'")


def check_apart(by_list: Mapping[str, Listed]) -> None:
    """Raise BadInput where an image stands in two lists."""
    for (one, images), (other, others) in combinations(by_list.items(), 2):
        for task in images:
            for finding, files in images[task].items():
                if twice := set(files) & set(others[task].get(finding, ())):
                    raise BadInput(f"{min(twice)}: expected in one list, found in {one} and in {other}")


def check_there(root: Path, lists: Iterable[Listed]) -> list[str]:
    """Raise BadInput where a listed image is not in its folder. Returns the images there that no list names."""
    by_folder: dict[str, set[str]] = {}
    for findings in (findings for listed in lists for findings in listed.values()):
        for file in (file for files in findings.values() for file in files):
            folder, _, name = file.rpartition("/")
            by_folder.setdefault(folder, set()).add(name)
    others = []
    for folder, names in sorted(by_folder.items()):
        there = {path.name for path in (root / folder).iterdir()} if (root / folder).is_dir() else set()
        if missing := names - there:
            message = f"expected all {len(names)} images that the lists name, found {len(names) - len(missing)}"
            raise BadInput(f"{root / folder}: {message}; the first missing is {min(missing)}")
        endings = {Path(name).suffix for name in names}
        others += [f"{folder}/{name}" for name in sorted(there - names) if Path(name).suffix in endings]
    return others
