"""Images of your own with several labels each: a CSV list with a column for each task: classes, labels or a number.

Nothing is downloaded, and no code is to be written. docs/own-images.md shows how it is used.

Source: images of the user; the split, the checks and the manifest are this project's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, field_validator

from mola import metrics
from mola.benchmarks import SPLITS, Uniform
from mola.benchmarks._user_images import UserImages
from mola.data.batches.sampling import Picks
from mola.data.batches.threads import spread
from mola.data.prepare import images, store
from mola.data.prepare.prepared import Blocks, Recipe
from mola.data.splits.label_splits import LabelSplits, LabelTask, Target
from mola.data.user.label_source import LabelSource
from mola.task_names import check_task_names, task_name
from mola.types import BadInput, Batch, Split, Task

if TYPE_CHECKING:
    from torch import Tensor


class ImageLabels(UserImages):
    """Every image has every task, as far as its label is known. There is one group of samples, ``all``, with an array
    of targets for each task beside the images.
    """

    class Options(UserImages.Options):
        labels: dict[str, Literal["classes", "multilabel", "regression"]] = Field(
            {},
            description="columns of the list that are tasks, each with its kind, as {species: classes, "
            "defects: multilabel, age: regression}",
        )

        @field_validator("labels")
        @classmethod
        def _can_be_tasks(cls, value: dict[str, str]) -> dict[str, str]:
            columns = [column.strip().lower() for column in value]
            if taken := [column for column in columns if column in ("image", "split", "group")]:
                raise ValueError(f"expected columns of labels, {taken[0]} is none")
            check_task_names(map(task_name, value), "a column that is a task")
            if len({task_name(column) for column in columns}) < len(columns):
                raise ValueError("expected columns that differ")
            return value

    options: Options
    name = "image_labels"
    version = 1
    heterogeneity = "single-input task"
    splits = LabelSplits
    manifest: LabelSplits | None
    roots = "a CSV list of images with their labels"
    contents = "a list with columns of labels"

    @property
    def groups(self) -> tuple[str, ...]:
        """One group, as every sample has every task."""
        return ("all",)

    def every_task(self) -> tuple[Task, ...]:
        """Those of the manifest, or before there is one of the list. Raises BadInput where no column is named."""
        if self.manifest is None and self.options.root is None:
            return ()
        if not self.options.labels:
            raise BadInput(f"{self.name}.labels: expected columns of the list, each with its kind, found none")
        listed = self.manifest.tasks if self.manifest else self.source.tasks()
        return tuple(self._task(name, task) for name, task in listed.items())

    def _task(self, name: str, task: LabelTask) -> Task:
        outputs = 1 if task.kind == "regression" else len(task.names)
        first = min((n for n in (self.options.limit, self.options.train) if n), default=None)
        known = task.kind == "regression" and self.manifest is not None
        mean, std = self.manifest.moments(name, first) if known and self.manifest else (0.0, 1.0)
        return Task(name, task.kind, outputs, metrics.names(task.kind), mean, std)

    def class_names(self, task: str) -> tuple[str, ...]:
        """Return the classes or labels of a task, as the list has them; a number has none."""
        listed = self.manifest.tasks if self.manifest else self.source.tasks()
        return tuple(listed[task].names) or super().class_names(task)

    @cached_property
    def source(self) -> LabelSource:
        """The list. Raises BadInput where the suite names none."""
        return LabelSource(self.place_of_images, self.options, self.cache)

    @property
    def rule(self) -> Mapping[str, object]:
        """The options that decide over the splits."""
        return LabelSource.rule_of(self.options)

    @property
    def array_names(self) -> list[str]:
        """The images, and the targets of the chosen tasks."""
        kinds = ["images", *(_kind_of_array(task.name) for task in self.tasks)]
        return [f"all.{split}.{kind}" for split in SPLITS for kind in kinds]

    def recipes_of(self, known: LabelSplits) -> dict[str, Recipe]:
        """How the arrays of all tasks are made: targets take little space."""
        return {f"all.{split}": self._recipe(known, split) for split in SPLITS}

    def _recipe(self, known: LabelSplits, split: Split) -> Recipe:
        size, checksums = self.options.size, {file: sha256 for file, (_, sha256) in known.files[split].items()}
        targets = {
            _kind_of_array(name): _stored(task, known.targets(name, split)) for name, task in known.tasks.items()
        }
        files, reader = [*checksums], self.reader(checksums)

        def blocks(start: int) -> Blocks:
            for pixels in images.decoded(self.source.folder, files[start:], size, reader=reader):
                some = slice(start, start + len(pixels))
                yield {"images": pixels, **{kind: array[some] for kind, array in targets.items()}}
                start = some.stop

        kinds = {kind: (array.shape[1:], str(array.dtype)) for kind, array in targets.items()}
        key = {
            "version": self.version,
            "size": size,
            "files": [*checksums.values()],
            "labels": {kind: hashlib.sha256(array.tobytes()).hexdigest() for kind, array in targets.items()},
        }
        return Recipe(len(files), {"images": ((size, size, 3), "uint8"), **kinds}, key, blocks, files)

    def sizes(self, split: Split) -> dict[str, int]:
        """Return the samples of a split, the same number for every task, whether their labels are known or not."""
        return {task.name: self.group_sizes(split)["all"] for task in self.tasks}

    def batch(self, split: Split, picked: Picks, uniform: Uniform | None) -> Batch:
        """Return the picked images with all their targets, augmented where there are ``uniform`` numbers for them."""
        import torch

        stored = self.arrays[f"all.{split}.images"][picked["all"]]
        if uniform is not None:
            stored = np.concatenate(spread(self.augmented, stored, uniform["all"], self.threads))
        return self.labelled(split, picked, torch.from_numpy(stored).permute(0, 3, 1, 2))

    def labelled(self, split: Split, picked: Picks, x: Tensor) -> Batch:
        """Return the batch of the picked samples, whose images or features ``x`` (B, …) has."""
        import torch

        y = {}
        for task in self.tasks:
            target = torch.from_numpy(self.arrays[f"all.{split}.{_kind_of_array(task.name)}"][picked["all"]])
            y[task.name] = target.float() if task.kind == "multilabel" else target
        return Batch(x, None, y, tuple(task.name for task in self.tasks))


def _kind_of_array(task: str) -> str:
    return f"labels.{task}"


def _stored(task: LabelTask, targets: Sequence[Target]) -> store.Array:
    """Targets as ``Batch.y`` has them: (N,) int64, −1 unknown; (N, K) int8 of 0 and 1, −1 unknown; (N,) float32, NaN
    unknown.
    """
    if task.kind == "classes":
        return np.array([-1 if target is None else target for target in targets], np.int64)
    if task.kind == "regression":
        return np.array([np.nan if target is None else target for target in targets], np.float32)
    known = np.full((len(targets), len(task.names)), -1, np.int8)
    for row, target in zip(known, targets, strict=True):
        if isinstance(target, list):
            row[:] = 0
            row[target] = 1
    return known
