"""The committed split manifest, ``data/splits/<benchmark>.json``: which items of which raw data form each split, and
the checksums of their prepared arrays.

What it says is part of every run's fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from mola import files
from mola.types import BadInput

SPLITS = Path(__file__).parent.parent.parent.parent / "data" / "splits"
Ids = dict[str, dict[str, list[int]]]  # task → split → ids of items in the raw data


@dataclass(frozen=True)
class Manifest:
    """What defines a benchmark's data, byte for byte."""

    benchmark: str
    version: int  # of the recipe that prepares the arrays
    sources: dict[str, str]  # name → sha256 of the raw content
    ids: Ids
    arrays: dict[str, str]  # "<task>.<split>.images" and ".labels" → sha256, see store.digest

    @classmethod
    def read(cls, benchmark: str) -> Manifest:
        """Read the committed manifest. Raises BadInput where it is missing or can't be read as one."""
        path = manifest_path(benchmark)
        if not path.is_file():
            raise BadInput(f"{path}: expected the split manifest of '{benchmark}', found none; git has it")
        try:
            return cls(**json.loads(path.read_text()))
        # not JSON, not text, nested too deeply, or other keys
        except (ValueError, TypeError, RecursionError) as error:
            raise BadInput(f"{path}: expected a split manifest, found: {error}; git has it") from None

    def write(self) -> Path:
        """Replace the committed manifest: for maintainers, when the recipe changes."""
        text = json.dumps(asdict(self), indent=1)
        # a list of ids on one line: a diff shows which split changed
        text = re.sub(r"\[[\d\s,]*\]", lambda ids: " ".join(ids.group().split()), text)
        path = manifest_path(self.benchmark)
        files.write_text(path, text + "\n")
        return path


def manifest_path(benchmark: str) -> Path:
    """Return the file of a benchmark's committed manifest."""
    return SPLITS / f"{benchmark}.json"


def manifest_sha256(benchmark: str) -> str:
    """Return the checksum of the committed manifest; "" for a benchmark that has none."""
    path = manifest_path(benchmark)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
