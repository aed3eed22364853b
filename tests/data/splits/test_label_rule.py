"""The split of images with several labels: shares of everything, groups whole, and what is said where that can't be."""

import random
from collections import Counter

import pytest

from mola.data.splits.label_rule import LabelledImage, divide_labelled

KINDS = {"species": "classes", "age": "regression", "marks": "multilabel"}
PERCENT = {"train": 60, "valid": 20, "test": 20}


def drawn(number, seed=0, per_group=1, split=lambda i: ""):
    """Images with a frequent and rare classes, skewed numbers, rare marks, and a fifth of all labels missing."""
    draw = random.Random(seed)
    images = []
    for i in range(number):
        labels = {
            "species": draw.choices("xyz", (6, 3, 1))[0],
            "age": draw.expovariate(0.1),
            "marks": frozenset(m for m, p in (("dent", 0.5), ("hole", 0.08)) if draw.random() < p),
        }
        known = {task: value for task, value in labels.items() if draw.random() > 0.2}
        images.append(LabelledImage(known, f"{i}.png", split(i), f"g{i // per_group}" if per_group > 1 else ""))
    return images


def divided(images, seed=0, same=()):
    contents = {image.file: (image.file, image.file) for image in images} | dict.fromkeys(same, ("one", "one"))
    return divide_labelled(images, KINDS, contents, PERCENT, seed)


@pytest.mark.parametrize("per_group", [1, 4])
def test_every_split_has_its_share_of_everything(per_group):
    images = drawn(400, per_group=per_group)
    result = divided(images)
    assert not result.findings
    of_group = {}
    parts = {task: Counter() for task in ("", "x", "y", "z", "dent", "hole", "young", "old")}
    for image, split, group in zip(images, result.splits, result.groups, strict=True):
        assert of_group.setdefault(group, split) == split
        age = image.labels.get("age", 7)
        names = [
            "",
            image.labels.get("species", ""),
            *image.labels.get("marks", ()),
            "young" * (age < 3),
            "old" * (age > 14),
        ]
        for name in {*names}:
            parts[name][split] += 1
    for name, counts in parts.items():
        for split, percent in PERCENT.items():
            share, number = 100 * counts[split] / counts.total(), counts.total()
            assert abs(share - percent) < 3 + 250 / number, (name, counts)
    assert divided(images).splits == result.splits != divided(images, seed=1).splits


def test_copies_are_in_one_split_and_have_one_label():
    images = [*drawn(60), LabelledImage({"age": 1.0}, "a.png"), LabelledImage({"age": 2.0, "species": "x"}, "b.png")]
    result = divided(images, same=("a.png", "b.png"))
    assert result.splits[-1] == result.splits[-2] and result.copies == 1
    assert result.findings == {"copies of one image with two labels of a task": ["age: b.png, a.png"]}


def test_given_splits_that_lack_what_training_or_a_metric_needs():
    order = ("train", "valid", "test")
    assert not divided(drawn(90, split=lambda i: order[i % 3])).findings
    train = {"species": "x", "age": 1.0, "marks": frozenset(["dent"])}
    rest = {"species": "y", "marks": frozenset(["hole"])}
    images = [LabelledImage(train if i % 3 == 0 else rest, f"{i}.png", order[i % 3]) for i in range(9)]
    assert divided(images).findings == {
        "tasks whose splits lack classes": [
            "species: expected all classes in train, found x",
            "species: expected two classes in valid, found y",
            "species: expected two classes in test, found y",
        ],
        "tasks without a label in a split": ["age: expected some, found none in valid, test"],
        "labels that no training image has": ["marks: hole"],
    }
