"""The index of a row's runs, ``runs.json``: which fingerprint they are of, and each record's status and checksum.

It is written when every seed of the suite has a record, so the workflow waits for it, plans by it, and records are
checked against it.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from mola.types import BadInput

NAME = "runs.json"


def read(path: Path) -> dict[str, Any]:
    """The content of an index: ``fingerprint`` and, by seed, ``runs`` with ``status`` and ``sha256``.

    Raises FileNotFoundError, and BadInput for everything else that is wrong with it.
    """
    try:
        return parse(path.read_bytes(), path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadInput(f"{path}: expected a file that can be read, found: {error.strerror}") from None


def parse(text: bytes, path: object) -> dict[str, Any]:
    """The same of the text of an index. path: for messages. Raises BadInput."""
    try:
        content = json.loads(text)
        runs = content["runs"]
        texts = [content["fingerprint"], *(run[key] for run in runs.values() for key in ("status", "sha256"))]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("expected texts")
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise BadInput(f"{path}: expected an index of runs, found {type(error).__name__}: {error}") from None
    return {"fingerprint": content["fingerprint"], "runs": runs}


def checksum(content: bytes) -> str:
    """What the index holds of a record."""
    return hashlib.sha256(content).hexdigest()


def check(path: Path, content: bytes) -> bool:
    """Whether the index of a row lists this record, in ``<row>/seed<k>/record.json``; False where there is no index.

    Raises BadInput where it lists another one.
    """
    listed = _listed(path)
    if listed is not None and listed != checksum(content):
        raise BadInput(f"not the record that {NAME} lists: changed, damaged or copied since it was written")
    return listed is not None


def drop(path: Path) -> None:
    """Remove the index of a row before one of its records is written anew; ``mola train`` writes it at the end."""
    if _listed(path) is not None:
        (path.parent.parent / NAME).unlink(missing_ok=True)


# the seeds of a row are looked at one after the other
@lru_cache(maxsize=1)
def _read(path: Path, *version: int) -> dict[str, Any]:
    return read(path)


def _listed(path: Path) -> str | None:
    """The checksum that the index has for a record; None where it has none, or is damaged itself."""
    place = path.parent.parent / NAME
    try:
        file = place.stat()
        run = _read(place, file.st_mtime_ns, file.st_size, file.st_ino)["runs"].get(
            path.parent.name.removeprefix("seed")
        )
    except (OSError, BadInput):
        return None
    return str(run["sha256"]) if run else None
