"""From a list of checked images with several labels each to their splits, or to what stands in the way."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mola.data.splits.grouped import divided_groups, joined
from mola.data.splits.image_rule import Contents, Division, Findings, ListedImage, check_classes, check_given
from mola.data.splits.label_splits import LabelKind
from mola.data.splits.rule import ORDER
from mola.types import Split

PARTS = 4  # of a regression's targets, in their order: each has its share in every split
Value = str | frozenset[str] | float


@dataclass(frozen=True)
class LabelledImage:
    """An image of the list.

    labels: task → its class, labels or number; without those that are not known. file: relative to the list's folder.
    split: "" where none is given. group: of images that may not be divided; "" for an image by itself.
    """

    labels: Mapping[str, Value]
    file: str
    split: str = ""
    group: str = ""


def divide_labelled(
    images: Sequence[LabelledImage],
    kinds: Mapping[str, LabelKind],
    contents: Contents,
    percent: Mapping[Split, int],
    seed: int,
) -> Division:
    """Divide images by the splits that they say, or else by the rule: of every class and label, and of each quarter of
    a regression's targets, each split has its share, as near as images with several labels allow.
    """
    alike = [[*zip(("file", "pixels"), contents[image.file], strict=True)] for image in images]
    same = joined(alike)
    keys = [[*k, ("group", image.group)] if image.group else k for k, image in zip(alike, images, strict=True)]
    groups = joined(keys)
    findings: Findings = defaultdict(list)
    _check_copies(images, same, findings)
    strata = [[*_strata(image, kinds)] for image in _with_parts(images, kinds)]
    if given := any(image.split for image in images):
        splits: list[Split] = [image.split for image in images]  # type: ignore[misc]
        check_given(images, same, groups, splits, findings)
    else:
        items = [(number, stratum) for number, of_image in enumerate(strata) for stratum in of_image]
        divided = divided_groups(
            [stratum for _, stratum in items],
            [groups[number] for number, _ in items],
            [images[number].file for number, _ in items],
            percent,
            seed,
        )
        of_image = {number: split for (number, _), split in zip(items, divided, strict=True)}
        splits = [of_image[number] for number in range(len(images))]
    for task, kind in kinds.items():
        _check_task(task, kind, images, groups, splits, given, findings)
    return Division(splits, groups, len(images) - len(set(same)), dict(findings))


def _with_parts(images: Sequence[LabelledImage], kinds: Mapping[str, LabelKind]) -> Iterator[LabelledImage]:
    """The images, with the quarter that it is in for each number."""
    ends = {}
    for task, kind in kinds.items():
        if kind == "regression":
            values = sorted(float(image.labels[task]) for image in images if task in image.labels)  # type: ignore[arg-type]
            ends[task] = [values[len(values) * part // PARTS] for part in range(1, PARTS)] if values else []
    for image in images:
        parts = {task: float(bisect_right(ends[task], image.labels[task])) for task in ends if task in image.labels}  # type: ignore[type-var]
        yield LabelledImage({**image.labels, **parts}, image.file)


def _strata(image: LabelledImage, kinds: Mapping[str, LabelKind]) -> Iterator[Hashable]:
    """What each split shall have its share of: images, and those of every class, label and quarter, without any label
    and with an unknown one. Each task then says of every image where it is to be counted; otherwise rare labels would
    pull others with them.
    """
    yield ""
    for task in kinds:
        value = image.labels.get(task)
        if isinstance(value, frozenset) and value:
            yield from ((task, name) for name in sorted(value))
        else:
            yield task, value


def _listed(images: Sequence[LabelledImage], task: str) -> list[ListedImage]:
    return [ListedImage(task, str(image.labels[task]), image.file, image.split, image.group) for image in images]


def _check_copies(images: Sequence[LabelledImage], same: Sequence[int], findings: Findings) -> None:
    first: dict[tuple[str, int], LabelledImage] = {}
    for image, number in zip(images, same, strict=True):
        for task, value in image.labels.items():
            earlier = first.setdefault((task, number), image)
            if earlier.labels[task] != value:
                findings["copies of one image with two labels of a task"].append(
                    f"{task}: {image.file}, {earlier.file}"
                )


def _check_task(
    task: str,
    kind: LabelKind,
    images: Sequence[LabelledImage],
    groups: Sequence[int],
    splits: Sequence[Split],
    given: bool,
    findings: Findings,
) -> None:
    """What a task needs in each split, for its training and for its metrics."""
    known = [number for number, image in enumerate(images) if task in image.labels]
    lacking = [split for split in ORDER if not any(splits[number] == split for number in known)]
    if lacking:
        findings["tasks without a label in a split"].append(
            f"{task}: expected some, found none in {', '.join(lacking)}"
        )
        return
    if kind == "classes":
        some = _listed([images[number] for number in known], task)
        check_classes(some, [groups[n] for n in known], [splits[n] for n in known], given, findings)
        return
    if kind == "regression":
        values = {images[number].labels[task] for number in known if splits[number] == "train"}
        if len(values) == 1:
            what = "columns of numbers that are all equal in train"
            findings[what].append(f"{task}: expected numbers that differ, found {next(iter(values))} alone")
        return
    names = sorted({name for number in known for name in images[number].labels[task]})  # type: ignore[union-attr]
    for name in names:
        having = [number for number in known if name in images[number].labels[task]]  # type: ignore[operator]
        there = {splits[number] for number in having}
        if given and "train" not in there:
            findings["labels that no training image has"].append(f"{task}: {name}")
        elif not given and len(there) < len(ORDER):
            number = len(having)
            findings["labels of fewer than 3 images or groups, one for each split"].append(
                f"{task}: {name}: {number} image{'s' if number > 1 else ''}"
            )
    for split in ORDER:
        if not any(splits[number] == split and images[number].labels[task] for number in known):
            findings["tasks whose splits lack labels"].append(
                f"{task}: expected an image with a label in {split}, found none"
            )
