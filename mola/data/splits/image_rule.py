"""From a list of checked images to their splits, or to what stands in the way."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mola.data.splits.grouped import divided_groups, joined
from mola.data.splits.image_splits import Files
from mola.data.splits.rule import ORDER, interleaved, ranked
from mola.types import Split


@dataclass(frozen=True)
class ListedImage:
    """An image of a task.

    label: the name of its class. file: relative to the list's folder, with slashes. split: "" where none is given.
    group: of images that may not be divided; "" for an image by itself.
    """

    task: str
    label: str
    file: str
    split: str = ""
    group: str = ""


class Grouped(Protocol):
    """What is read of an image of a list, whatever its labels."""

    @property
    def file(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def group(self) -> str: ...


Contents = Mapping[str, tuple[str, str]]  # file → sha256 of its bytes, sha256 of the decoded image
Findings = dict[str, list[str]]  # what is wrong → where


@dataclass(frozen=True)
class Division:
    """The splits of some images.

    splits: of each image. groups: of each image, by number. copies: images that equal an earlier one.
    findings: why they can't be trained on.
    """

    splits: list[Split]
    groups: list[int]
    copies: int
    findings: Findings


def divide(images: Sequence[ListedImage], contents: Contents, percent: Mapping[Split, int], seed: int) -> Division:
    """Divide images by the splits that they say, or else by the rule. Copies of an image are one group in all tasks."""
    # a copy in another format has the same pixels
    alike = [[*zip(("file", "pixels"), contents[image.file], strict=True)] for image in images]
    same = joined(alike)
    keys = [[*k, ("group", image.group)] if image.group else k for k, image in zip(alike, images, strict=True)]
    groups = joined(keys)
    findings: Findings = defaultdict(list)
    _check_labels(images, same, findings)
    if given := any(image.split for image in images):
        splits: list[Split] = [image.split for image in images]  # type: ignore[misc]
        check_given(images, same, groups, splits, findings)
    else:
        strata = [(image.task, image.label) for image in images]
        splits = divided_groups(strata, groups, [image.file for image in images], percent, seed)
    check_classes(images, groups, splits, given, findings)
    copies = len({image.file for image in images}) - len(set(same))
    return Division(splits, groups, copies, dict(findings))


def files_of(
    images: Sequence[ListedImage],
    splits: Sequence[Split],
    contents: Contents,
    classes: Mapping[str, Sequence[str]],
    seed: int,
) -> dict[str, dict[Split, Files]]:
    """Task → split → files, one of each class and again, those of a class by their rank."""
    by_class: dict[tuple[str, Split, str], list[str]] = defaultdict(list)
    for image, split in zip(images, splits, strict=True):
        by_class[image.task, split, image.label].append(image.file)
    result: dict[str, dict[Split, Files]] = {}
    for task, names in classes.items():
        result[task] = {}
        for split in ORDER:
            order = [ranked(by_class[task, split, name], f"{seed}/") for name in names]
            result[task][split] = {file: (label, contents[file][0]) for file, label in interleaved(order)}
    return result


def groups_sha256(images: Sequence[Grouped]) -> str:
    """A checksum of which images the list puts into one group; "" where it does not."""
    pairs = sorted({f"{image.file}\n{image.group}" for image in images if image.group})
    return hashlib.sha256("\n".join(pairs).encode()).hexdigest() if pairs else ""


def _check_labels(images: Sequence[ListedImage], same: Sequence[int], findings: Findings) -> None:
    first: dict[tuple[str, int], ListedImage] = {}
    for image, number in zip(images, same, strict=True):
        earlier = first.setdefault((image.task, number), image)
        if earlier.label != image.label:
            findings["copies of one image in two classes of a task"].append(f"{image.file}, {earlier.file}")


def check_given(
    images: Sequence[Grouped],
    same: Sequence[int],
    groups: Sequence[int],
    splits: Sequence[Split],
    findings: Findings,
) -> None:
    """Copies of an image and images of a group have to be in one split."""
    for what, numbers in (("copies of one image in two splits", same), ("groups in two splits", groups)):
        first: dict[int, int] = {}
        for i, number in enumerate(numbers):
            earlier = first.setdefault(number, i)
            if splits[earlier] == splits[i] or (numbers is groups and same[earlier] == same[i]):
                continue
            group = f"group {images[i].group}: " if numbers is groups else ""
            ours, theirs = (f"{images[k].file} ({splits[k]})" for k in (i, earlier))
            findings[what].append(f"{group}{ours}, {theirs}")


def check_classes(
    images: Sequence[ListedImage], groups: Sequence[int], splits: Sequence[Split], given: bool, findings: Findings
) -> None:
    """Every class has to be in every split; of given splits in train, and two of them in the others."""
    counts: Counter[tuple[str, str, Split]] = Counter()
    groups_of: dict[tuple[str, str], set[int]] = defaultdict(set)
    sizes: Counter[tuple[str, str]] = Counter()
    for image, group, split in zip(images, groups, splits, strict=True):
        counts[image.task, image.label, split] += 1
        groups_of[image.task, image.label].add(group)
        sizes[image.task, image.label] += 1
    by_task: dict[str, list[str]] = defaultdict(list)
    for task, label in groups_of:
        by_task[task].append(label)
    for task, labels in sorted(by_task.items()):
        if len(labels) < 2:
            findings["tasks with one class"].append(f"{task}: {labels[0]}")
        for split in ORDER if given else ():
            there = [label for label in labels if counts[task, label, split]]
            if len(there) < (len(labels) if split == "train" else min(2, len(labels))):
                wish = "all classes" if split == "train" else "two classes"
                findings["tasks whose splits lack classes"].append(
                    f"{task}: expected {wish} in {split}, found {', '.join(sorted(there)) or 'none'}"
                )
    for (task, label), numbers in sorted(groups_of.items()) if not given else ():
        number = sizes[task, label]
        if len(numbers) < len(ORDER):
            apart = "" if number == len(numbers) else f" in {len(numbers)} group{'s' if len(numbers) > 1 else ''}"
            findings["classes of fewer than 3 images or groups, one for each split"].append(
                f"{task}: {label}: {number} image{'s' if number > 1 else ''}{apart}"
            )
        elif lacking := [split for split in ORDER if not counts[task, label, split]]:
            findings["classes whose groups can't be divided"].append(f"{task}: {label}: none in {', '.join(lacking)}")
