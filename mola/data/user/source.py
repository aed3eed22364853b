"""Images that lie with the user: listed, opened once, divided, and compared with what the manifest says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

from mola.data.splits.image_rule import divide, files_of, groups_sha256
from mola.data.splits.image_splits import ImageSplits
from mola.data.user.checking import found_in_files, inspection_of, refuse_changes, split_remarks
from mola.data.user.csv_lists import csv_classes, listed_csv
from mola.data.user.image_lists import ImageList, folder_classes, listed_folder, numbered
from mola.data.user.inspection import Facts
from mola.terminal import say
from mola.types import Split

RULE = ("split", "seed", "classes")  # options that decide over the splits


class Options(Protocol):
    """What is read of the options of ``mola.benchmarks.image_folder``."""

    @property
    def split(self) -> dict[Split, int]: ...
    @property
    def seed(self) -> int: ...
    @property
    def classes(self) -> Literal["auto", "shared", "per_task"]: ...
    @property
    def missing_classes(self) -> Literal["refuse", "allow"]: ...


class ImageSource:
    """A folder ``<domain>/<class>/<image>`` or a CSV list. cache: the folder of what is known of images."""

    def __init__(self, path: Path, options: Options, cache: Path) -> None:
        self.path, self.options = path, options
        self.is_list = path.suffix.lower() == ".csv"
        self.folder = path.parent if self.is_list else path
        self.inspection = inspection_of(self.folder, cache)

    def classes(self) -> dict[str, list[str]]:
        """The classes of each task, by the names of folders or by the list. Raises BadInput for a list that is none."""
        return numbered(csv_classes(self.path) if self.is_list else folder_classes(self.path), self.options.classes)

    def checked(self) -> ImageSplits:
        """Open all images, and return how they are divided. Raises Findings with all that is wrong."""
        return self._checked

    @cached_property
    def _checked(self) -> ImageSplits:
        listed = self._listed()
        if listed.others:
            kinds = ", ".join(f"{ending} {number}" for ending, number in sorted(listed.others.items()))
            say(f"{self.path}: left out are files of other endings: {kinds}")
        findings = listed.findings
        facts = found_in_files(self.inspection, [image.file for image in listed.images], findings)
        listed.images = [image for image in listed.images if not facts[image.file].problem]
        classes = numbered(dict(sorted(listed.classes.items())), self.options.classes)
        lacking = {task: [n for n in names if n not in listed.classes[task]] for task, names in classes.items()}
        if self.options.missing_classes == "refuse":
            where = [f"{task}: {name}" for task, names in lacking.items() for name in names]
            findings.add("classes that a task lacks (`missing_classes: allow` takes it as it is)", where)
        contents = {file: (f.sha256, f.pixels) for file, f in facts.items()}
        division = divide(listed.images, contents, self.options.split, self.options.seed)
        for what, places in division.findings.items():
            findings.add(what, places)
        findings.refuse(self.path)
        return ImageSplits(
            layout=listed.layout,
            rule={key: getattr(self.options, key) for key in RULE},
            given=any(image.split for image in listed.images),
            groups=groups_sha256(listed.images),
            remarks=[
                *split_remarks(listed.images, self.options.split, self.options.seed, division.copies),
                *self._remarks(listed, facts, lacking),
            ],
            classes=classes,
            arrays={},
            made_with={},
            files=files_of(listed.images, division.splits, contents, classes, self.options.seed),
        )

    def check_unchanged(self, splits: ImageSplits, renewal: str, *, exact: bool) -> None:
        """Raise BadInput where the images are not those of the manifest any more.

        exact: by the content of all files; otherwise by names and labels, and by the content of those files that are
        of another size or time than when they were opened. renewal: what to do, for the message.
        """
        listed = self._listed()
        listed.findings.refuse(self.path)
        recorded = {
            (task, file): (splits.classes[task][label], split if splits.given else "", sha256)
            for task, of_task in splits.files.items()
            for split, files in of_task.items()
            for file, (label, sha256) in files.items()
        }
        actual = {(image.task, image.file): (image.label, image.split) for image in listed.images}
        both = [key for key in actual if key in recorded]
        names = list(dict.fromkeys(file for _, file in both))
        known = self.inspection.sha256(names, exact=exact)
        counts = {
            "added": len(actual) - len(both),
            "removed": len(recorded) - len(both),
            "changed": sum(known.get(key[1], recorded[key][2]) != recorded[key][2] for key in both),
            "with another label or split": sum(actual[key] != recorded[key][:2] for key in both),
            "with other groups": int(groups_sha256(listed.images) != splits.groups and len(actual) == len(both)),
        }
        refuse_changes(self.path, counts, renewal)

    def _listed(self) -> ImageList:
        return listed_csv(self.path) if self.is_list else listed_folder(self.path)

    def _remarks(self, listed: ImageList, facts: Mapping[str, Facts], lacking: Mapping[str, list[str]]) -> list[str]:
        remarks = [f"data: {task} lacks {', '.join(names)}" for task, names in lacking.items() if names]
        grey: Counter[str] = Counter(image.task for image in listed.images if facts[image.file].grey)
        if 0 < sum(grey.values()) < len(listed.images):
            shares = ", ".join(f"{task} {number}" for task, number in sorted(grey.items()))
            remarks.append(f"data: images without colours: {shares}")
        return remarks
