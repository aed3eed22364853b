"""Images with labels of several tasks that lie with the user: listed, opened once, divided, and compared with what the
manifest says of them.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Protocol

from mola.data.splits.image_rule import groups_sha256
from mola.data.splits.label_rule import LabelledImage, Value, divide_labelled
from mola.data.splits.label_splits import LabelKind, LabelSplits, LabelTask, Target
from mola.data.splits.rule import ORDER, ranked
from mola.data.user.checking import found_in_files, inspection_of, refuse_changes, split_remarks
from mola.data.user.csv_labels import label_tasks, listed_labels
from mola.types import Split


class Options(Protocol):
    """What is read of the options of ``mola.benchmarks.image_labels``."""

    @property
    def labels(self) -> dict[str, LabelKind]: ...
    @property
    def split(self) -> dict[Split, int]: ...
    @property
    def seed(self) -> int: ...


class LabelSource:
    """A CSV list with a column for each task. cache: the folder of what is known of images."""

    def __init__(self, path: Path, options: Options, cache: Path) -> None:
        self.path, self.folder, self.options = path, path.parent, options
        self.inspection = inspection_of(self.folder, cache)

    def tasks(self) -> dict[str, LabelTask]:
        """The tasks, by name. Raises BadInput for a list that is none or lacks a column."""
        return label_tasks(self.path, self.options.labels)

    def checked(self) -> LabelSplits:
        """Open all images, and return how they are divided. Raises Findings with all that is wrong."""
        return self._checked

    @cached_property
    def _checked(self) -> LabelSplits:
        listed, options = listed_labels(self.path, self.options.labels), self.options
        findings = listed.findings
        facts = found_in_files(self.inspection, [image.file for image in listed.images], findings)
        images = [image for image in listed.images if not facts[image.file].problem]
        contents = {file: (f.sha256, f.pixels) for file, f in facts.items()}
        kinds = {task: each.kind for task, each in listed.tasks.items()}
        division = divide_labelled(images, kinds, contents, options.split, options.seed)
        for what, places in division.findings.items():
            findings.add(what, places)
        findings.refuse(self.path)
        # in an order that is as good as random: the first n images are a fair sample
        order = ranked([image.file for image in images], f"{options.seed}/")
        position = {file: number for number, file in enumerate(order)}
        entries = sorted(zip(images, division.splits, strict=True), key=lambda pair: position[pair[0].file])
        return LabelSplits(
            rule=self.rule_of(options),
            given=any(image.split for image in images),
            groups=groups_sha256(images),
            remarks=[
                *split_remarks(images, options.split, options.seed, division.copies),
                *_missing(images, listed.tasks),
            ],
            tasks=listed.tasks,
            arrays={},
            made_with={},
            files={
                split: {
                    image.file: (targets(image, listed.tasks), facts[image.file].sha256)
                    for image, of_image in entries
                    if of_image == split
                }
                for split in ORDER
            },
        )

    @staticmethod
    def rule_of(options: Options) -> dict[str, object]:
        """Those of the options that decide over the splits."""
        return {"split": options.split, "seed": options.seed, "labels": options.labels}

    def check_unchanged(self, splits: LabelSplits, renewal: str, *, exact: bool) -> None:
        """Raise BadInput where the images are not those of the manifest any more.

        exact: by the content of all files; otherwise by names and labels, and by the content of those files that are
        of another size or time than when they were opened. renewal: what to do, for the message.
        """
        listed = listed_labels(self.path, self.options.labels)
        listed.findings.refuse(self.path)
        recorded = {
            file: (targets, split if splits.given else "", sha256)
            for split, each in splits.files.items()
            for file, (targets, sha256) in each.items()
        }
        actual = {image.file: (targets(image, splits.tasks), image.split) for image in listed.images}
        both = [file for file in actual if file in recorded]
        known = self.inspection.sha256(both, exact=exact)
        counts = {
            "added": len(actual) - len(both),
            "removed": len(recorded) - len(both),
            "changed": sum(known.get(file, recorded[file][2]) != recorded[file][2] for file in both),
            "with other labels or another split": sum(actual[file] != recorded[file][:2] for file in both),
            "with other groups": int(groups_sha256(listed.images) != splits.groups and len(actual) == len(both)),
        }
        refuse_changes(self.path, counts, renewal)


def targets(image: LabelledImage, tasks: dict[str, LabelTask]) -> list[Target]:
    """Those of an image, in the order of the tasks; a class or label that a task has not stands behind all others."""
    return [_target(image.labels.get(name), task) for name, task in tasks.items()]


def _target(value: Value | None, task: LabelTask) -> Target:
    if value is None or isinstance(value, float):
        return value
    places = {name: place for place, name in enumerate(task.names)}
    if isinstance(value, str):
        return places.get(value, len(places))
    return sorted(places.get(name, len(places)) for name in value)


def _missing(images: list[LabelledImage], tasks: dict[str, LabelTask]) -> list[str]:
    """How many images lack a label, of the tasks where some do."""
    counts = {task: sum(task not in image.labels for image in images) for task in tasks}
    return [
        f"data: {task} is not known of {number} of {len(images)} images" for task, number in counts.items() if number
    ]
