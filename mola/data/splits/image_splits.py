"""The split manifest of a user's images: which file stands in which split, and the checksums of what is made of it.

It is written once and from then on fixes the splits, as the committed manifests do for the benchmarks of this package.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mola import files
from mola.types import BadInput, Split

Files = dict[str, tuple[int, str]]  # path → label, sha256, in the order of the prepared arrays


class ImageSplits(BaseModel):
    """The content of the manifest.

    rule:    the options that decided over the splits. given: whether a list said the splits.
    classes: task → names; the position is the label. files: task → split → files.
    groups:  a checksum of which images the list puts into one group.
    remarks: what a reader of tables must know.
    arrays:  pixels of a side → ``<task>.<split>.images`` and ``….labels`` → sha256 (``store.digest``).
    made_with: packages that decoded the images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    benchmark: Literal["image_folder"] = "image_folder"
    version: Literal[1] = 1
    layout: Literal["domains", "csv"]
    rule: dict[str, Any]
    given: bool
    groups: str
    remarks: list[str]
    classes: dict[str, list[str]]
    arrays: dict[str, dict[str, str]]
    made_with: dict[str, str]
    files: dict[str, dict[Split, Files]]

    @classmethod
    def read(cls, path: Path) -> ImageSplits | None:
        """Read a manifest; None where there is none. Raises BadInput where it is none that can be read."""
        try:
            stat = path.stat()
        except OSError:
            return None
        return _read(path, stat.st_mtime_ns, stat.st_size)

    def write(self, path: Path) -> None:
        """Write the manifest, a line for each file."""
        content = self.model_dump(mode="json", exclude={"files"})
        lines = ",\n".join(f" {json.dumps(task)}: {{\n{_of_task(splits)}\n }}" for task, splits in self.files.items())
        head = json.dumps(content, indent=1, ensure_ascii=False).removesuffix("\n}")
        files.write_text(path, f'{head},\n "files": {{\n{lines}\n }}\n}}\n')

    @property
    def ids(self) -> dict[str, dict[Split, list[str]]]:
        """Task → split → files."""
        return {task: {split: list(each) for split, each in splits.items()} for task, splits in self.files.items()}

    @property
    def digest(self) -> str:
        """A checksum of all splits with the content of their files: what all prepared arrays depend on."""
        return _sha256([self.version, self.files])

    def sha256(self, tasks: Sequence[str], size: int) -> str:
        """A checksum of what decides over some tasks at one size; "" where their arrays are not known."""
        if (arrays := self.checksums(tasks, size)) is None:
            return ""
        return _sha256([self.version, [[task, self.classes[task], self.files[task]] for task in tasks], arrays])

    def checksums(self, tasks: Sequence[str], size: int) -> dict[str, str] | None:
        """The checksums of the arrays of some tasks; None where some are not known."""
        known = self.arrays.get(str(size), {})
        names = [f"{t}.{split}.{kind}" for t in tasks for split in self.files[t] for kind in ("images", "labels")]
        return {name: known[name] for name in names} if all(name in known for name in names) else None

    def with_arrays(self, size: int, checksums: Mapping[str, str], made_with: dict[str, str]) -> ImageSplits:
        """The manifest with the checksums of more arrays. Raises BadInput where one is known to be another."""
        known = self.arrays.get(str(size), {})
        for name, sha256 in checksums.items():
            if known.get(name, sha256) != sha256:
                with_, here = (", ".join(f"{n} {v}" for n, v in each.items()) for each in (self.made_with, made_with))
                raise BadInput(
                    f"{name} of {size} pixels: expected sha256 {known[name]}, found {sha256}; "
                    f"the manifest was made with {with_}, these arrays with {here}"
                )
        if checksums.items() <= known.items():
            return self
        return self.model_copy(update={"arrays": {**self.arrays, str(size): {**known, **checksums}}})


@lru_cache(maxsize=8)
def _read(path: Path, mtime_ns: int, size: int) -> ImageSplits:
    try:
        return ImageSplits.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise BadInput(f"{path}: expected a split manifest of images, found: {reason}") from None


def _of_task(splits: Mapping[Split, Files]) -> str:
    return ",\n".join(f"  {json.dumps(split)}: {{\n{_lines(each)}\n  }}" for split, each in splits.items())


def _lines(each: Files) -> str:
    def lines() -> Iterator[str]:
        for file, (label, sha256) in each.items():
            yield f"   {json.dumps(file, ensure_ascii=False)}: {json.dumps([label, sha256])}"

    return ",\n".join(lines())


def _sha256(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
