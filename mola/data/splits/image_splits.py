"""The split manifest of a user's images that each have a task and a class: which file stands in which split, and the
checksums of what is made of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

from mola.data.splits.user_splits import UserSplits, file_lines, sha256_of
from mola.types import Split

Files = dict[str, tuple[int, str]]  # path → label, sha256, in the order of the prepared arrays


class ImageSplits(UserSplits):
    """The content of the manifest.

    classes: task → names; the position is the label. files: task → split → files.
    """

    title: ClassVar[str] = "a split manifest of images"
    benchmark: Literal["image_folder"] = "image_folder"
    version: Literal[1] = 1
    layout: Literal["domains", "csv"]
    classes: dict[str, list[str]]
    files: dict[str, dict[Split, Files]]

    def lines(self) -> Iterator[str]:
        """Those of the files, task by task and split by split."""
        for number, (task, splits) in enumerate(self.files.items(), 1):
            inner = ",\n".join(f"  {json.dumps(s)}: {{\n{file_lines(each, 3)}\n  }}" for s, each in splits.items())
            yield f" {json.dumps(task)}: {{\n{inner}\n }}{',' if number < len(self.files) else ''}"

    @property
    def ids(self) -> dict[str, dict[Split, list[str]]]:
        """Task → split → files."""
        return {task: {split: list(each) for split, each in splits.items()} for task, splits in self.files.items()}

    @property
    def digest(self) -> str:
        """A checksum of all splits with the content of their files: what all prepared arrays depend on."""
        return sha256_of([self.version, self.files])

    def sha256(self, tasks: Sequence[str], arrays: Sequence[str], size: int) -> str:
        """A checksum of what decides over some tasks at one size; "" where their arrays are not known."""
        if (known := self.known(arrays, size)) is None:
            return ""
        return sha256_of([self.version, [[task, self.classes[task], self.files[task]] for task in tasks], known])
