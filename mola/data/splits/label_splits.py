"""The split manifest of a user's images that each have labels of several tasks: which file stands in which split, with
its labels, and the checksums of what is made of it.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from mola.data.splits.user_splits import UserSplits, file_lines, sha256_of
from mola.types import Split

LabelKind = Literal["classes", "multilabel", "regression"]
# the position of a class; the positions of the labels that an image has; a number; None where it is not known
Target = int | list[int] | float | None
Files = dict[str, tuple[list[Target], str]]  # path → a target for each task, sha256, in the order of the arrays


class LabelTask(BaseModel):
    """A column of the list. names: of its classes or labels; the position is the label."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: LabelKind
    names: list[str]


class LabelSplits(UserSplits):
    """The content of the manifest. tasks: by name, in the order of each file's targets. files: split → files."""

    title: ClassVar[str] = "a split manifest of images with labels"
    benchmark: Literal["image_labels"] = "image_labels"
    version: Literal[1] = 1
    tasks: dict[str, LabelTask]
    files: dict[Split, Files]

    def lines(self) -> Iterator[str]:
        """Those of the files, split by split."""
        for number, (split, each) in enumerate(self.files.items(), 1):
            yield f"  {json.dumps(split)}: {{\n{file_lines(each, 3)}\n  }}{',' if number < len(self.files) else ''}"

    @property
    def ids(self) -> dict[str, dict[Split, list[str]]]:
        """``all`` → split → files: every image has every task."""
        return {"all": {split: list(each) for split, each in self.files.items()}}

    @property
    def digest(self) -> str:
        """A checksum of all splits with the content and labels of their files: what all prepared arrays depend on."""
        return sha256_of([self.version, self._described([*self.tasks]), self.files])

    def sha256(self, tasks: Sequence[str], arrays: Sequence[str], size: int) -> str:
        """A checksum of what decides over some tasks at one size; "" where their arrays are not known."""
        if (known := self.known(arrays, size)) is None:
            return ""
        places = [[*self.tasks].index(task) for task in tasks]
        files = {
            split: {file: [[targets[place] for place in places], sha256] for file, (targets, sha256) in each.items()}
            for split, each in self.files.items()
        }
        return sha256_of([self.version, self._described(tasks), files, known])

    def targets(self, task: str, split: Split) -> list[Target]:
        """Those of a task, in the order of the files."""
        place = [*self.tasks].index(task)
        return [targets[place] for targets, _ in self.files[split].values()]

    def moments(self, task: str, first: int | None) -> tuple[float, float]:
        """Mean and standard deviation of a regression's known targets among the first n training images; None: all.
        (0, 0) where none is known.
        """
        known = [float(y) for y in self.targets(task, "train")[:first] if isinstance(y, int | float)]
        mean = math.fsum(known) / len(known) if known else 0.0
        return mean, statistics.pstdev(known, mean) if known else 0.0

    def _described(self, tasks: Sequence[str]) -> list[object]:
        return [[task, self.tasks[task].model_dump()] for task in tasks]
