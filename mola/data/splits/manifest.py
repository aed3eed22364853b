"""The committed split manifest, ``data/splits/<benchmark>.json``: which items of which raw data form each split, and
the checksums of their prepared arrays.

What it says is part of every run's fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

from pydantic import ConfigDict, TypeAdapter, ValidationError

from mola import files, registry
from mola.shipped import SPLITS
from mola.types import BadInput

Ids = dict[str, dict[str, list[int]]]  # task → split → ids of items in the raw data


@dataclass(frozen=True)
class Committed:
    """What is committed for a benchmark."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)
    title: ClassVar[str]
    benchmark: str
    version: int  # of the recipe that prepares the arrays

    @classmethod
    def read(cls, benchmark: str, version: int) -> Self:
        """Read the committed file. Raises BadInput where it is missing, can't be read, or is of another recipe."""
        path = manifest_path(benchmark)
        if not path.is_file():
            raise BadInput(f"{path}: expected the {cls.title} of '{benchmark}', found none; git has it")
        try:
            committed: Self = TypeAdapter(cls).validate_json(path.read_bytes())
        # not JSON, other keys, or other types
        except ValidationError as error:
            problem = registry.explain(error, "").removeprefix(": ")
            raise BadInput(f"{path}: expected a {cls.title}, found: {problem}; git has it") from None
        if committed.version != version:
            message = f"expected version {version} of the recipe, found {committed.version}"
            raise BadInput(f"{path}: {message}; take both the file and the code from one commit")
        return committed


@dataclass(frozen=True)
class Manifest(Committed):
    """What defines a benchmark's data, byte for byte."""

    title = "split manifest"
    sources: dict[str, str]  # name → sha256 of the raw content
    ids: Ids
    arrays: dict[str, str]  # "<task>.<split>.images" and ".labels" → sha256, see store.digest

    def of(self, tasks: Sequence[str]) -> Manifest:
        """Return the part of some tasks."""
        ids = {task: splits for task, splits in self.ids.items() if task in tasks}
        return replace(self, ids=ids, arrays={n: s for n, s in self.arrays.items() if n.partition(".")[0] in tasks})

    def write(self) -> Path:
        """Replace the committed manifest: for maintainers, when the recipe changes."""
        text = json.dumps(asdict(self), indent=1)
        # a list of ids on one line: a diff shows which split changed
        text = re.sub(r"\[[\d\s,]*\]", lambda ids: " ".join(ids.group().split()), text)
        path = manifest_path(self.benchmark)
        files.write_text(path, text + "\n")
        return path


def manifest_path(benchmark: str) -> Path:
    """Return the file of a benchmark's committed manifest: that of a plugin lies beside its code."""
    given = registry.plugin("benchmarks", benchmark) if benchmark in registry.names("benchmarks") else None
    return given.file.with_suffix(".json") if given else SPLITS / f"{benchmark}.json"


def manifest_sha256(benchmark: str) -> str:
    """Return a checksum of what the committed file says, however it is formatted; "" for a benchmark that has none."""
    path = manifest_path(benchmark)
    if not path.is_file():
        return ""
    try:
        content = json.dumps(json.loads(path.read_text()), sort_keys=True).encode()
    # it is refused where it is read
    except (ValueError, RecursionError):
        content = path.read_bytes()
    return hashlib.sha256(content).hexdigest()
