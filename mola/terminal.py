"""The one terminal: a progress bar and log lines that know of each other, so that neither overwrites the other."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@cache
def console() -> Console:
    """stderr: results go to stdout."""
    from rich.console import Console

    return Console(stderr=True)
