"""Space on the disk: checked before anything large is written, and reported in one line when it runs out."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mola.types import BadInput

MARGIN = 32 * 2**20  # bytes left to everything else that writes there
FULL = {errno.ENOSPC, errno.EDQUOT}


def require(folder: Path, needed: int, what: str) -> None:
    """Raise BadInput where an existing folder's disk has less than ``needed`` bytes, and a margin, free."""
    free = shutil.disk_usage(folder).free
    if free < needed + MARGIN:
        raise BadInput(f"{folder}: expected {megabytes(needed + MARGIN)} free for {what}, found {megabytes(free)}")


@contextmanager
def errors_as_bad_input(folder: Path, what: str) -> Iterator[None]:
    """Turn each OSError of a block that writes ``what`` into a BadInput of one line."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"{folder}: expected to write {what}, found {reason(error)}") from error


def reason(error: OSError) -> str:
    """What is wrong, in a few words."""
    return "a full disk" if error.errno in FULL else error.strerror or str(error)


def megabytes(size: int) -> str:
    """Format a number of bytes: 1234567 becomes "1.2 MB"."""
    return f"{size / 1e6:,.1f} MB"
