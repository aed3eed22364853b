"""What the split manifests of a user's images have in common. Each is written once and from then on fixes the splits,
as the committed manifests do for the benchmarks of this package.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from mola import files
from mola.types import BadInput, Split


class UserSplits(BaseModel):
    """The content of a manifest. What it says of the files stands in ``files``, a line for each.

    rule:    the options that decided over the splits. given: whether a list said the splits.
    groups:  a checksum of which images the list puts into one group.
    remarks: what a reader of tables must know.
    arrays:  pixels of a side → ``<group>.<split>.<kind>`` → sha256 (``store.digest``).
    made_with: packages that decoded the images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    title: ClassVar[str]  # in messages
    rule: dict[str, Any]
    given: bool
    groups: str
    remarks: list[str]
    arrays: dict[str, dict[str, str]]
    made_with: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a manifest; None where there is none. Raises BadInput where it is none that can be read."""
        try:
            stat = path.stat()
        except OSError:
            return None
        splits: Self = _read(cls, path, stat.st_mtime_ns, stat.st_size)
        return splits

    def write(self, path: Path) -> None:
        """Write the manifest, a line for each file."""
        content = self.model_dump(mode="json", exclude={"files"})
        head = json.dumps(content, indent=1, ensure_ascii=False).removesuffix("\n}")
        lines = "\n".join(self.lines())
        files.write_text(path, f'{head},\n "files": {{\n{lines}\n }}\n}}\n')

    @abstractmethod
    def lines(self) -> Iterator[str]:
        """The lines between the braces of ``files``."""

    @property
    @abstractmethod
    def ids(self) -> dict[str, dict[Split, list[str]]]:
        """Group → split → files."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """A checksum of all splits with the content of their files: what all prepared arrays depend on."""

    @abstractmethod
    def sha256(self, tasks: Sequence[str], arrays: Sequence[str], size: int) -> str:
        """A checksum of what decides over some tasks with these arrays at one size; "" where arrays are not known."""

    def known(self, names: Sequence[str], size: int) -> dict[str, str] | None:
        """The checksums of some arrays at one size; None where some are not known."""
        known = self.arrays.get(str(size), {})
        return {name: known[name] for name in names} if all(name in known for name in names) else None

    def with_arrays(self, size: int, checksums: Mapping[str, str], made_with: dict[str, str]) -> Self:
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
        arrays = {**self.arrays, str(size): {**known, **checksums}}
        return self.model_copy(update={"arrays": arrays, "made_with": self.made_with or made_with})


def file_lines(entries: Mapping[str, object], indent: int) -> str:
    """File → what is said of it, a line each."""
    return ",\n".join(
        f"{' ' * indent}{json.dumps(file, ensure_ascii=False)}: {json.dumps(entry, ensure_ascii=False)}"
        for file, entry in entries.items()
    )


def sha256_of(content: object) -> str:
    """A checksum of plain data."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@lru_cache(maxsize=8)
def _read(cls: Any, path: Path, mtime_ns: int, size: int) -> Any:
    try:
        return cls.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise BadInput(f"{path}: expected {cls.title}, found: {reason}") from None
