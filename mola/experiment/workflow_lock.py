"""The lock that a killed Snakemake leaves in its working folder: the next call stops at it until somebody lifts it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

LOCKS = Path(".snakemake", "locks")  # files there name no process
LIFT = "snakemake --unlock"


def stale(folder: Path | None = None) -> str | None:
    """What to do about a lock that no Snakemake of this machine holds any more, in one line; None where there is none,
    where one works there, or where this system does not tell.

    folder: where Snakemake worked; the current one by default.
    """
    folder = (folder or Path()).resolve()
    if not any((folder / LOCKS).glob("*.lock")) or any(_snakemakes(folder)):
        return None
    return f"{LOCKS}: a Snakemake was killed here, and the next one stops at its lock; to lift it: {LIFT}"


def _snakemakes(folder: Path) -> Iterator[int]:
    """The processes that may be a Snakemake at work in a folder, this one and those that started it left out; 0 where
    processes can't be looked at.
    """
    processes, ancestors = Path(os.sep, "proc"), {os.getpid()}
    if not (processes / "self/cmdline").exists():
        yield 0
        return
    parent = os.getppid()
    while parent and parent not in ancestors:
        ancestors.add(parent)
        parent = _parent(processes / str(parent))
    for process in processes.iterdir():
        if process.name.isdecimal() and int(process.name) not in ancestors and _is_at_work(process, folder):
            yield int(process.name)


def _parent(process: Path) -> int:
    try:
        # "pid (name) state parent …", and a name may hold anything
        return int((process / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def _is_at_work(process: Path, folder: Path) -> bool:
    try:
        words = (process / "cmdline").read_text(errors="replace").split("\0")[:5]
        if "snakemake" not in [Path(word).name for word in words]:
            return False
        return (process / "cwd").readlink() == folder
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError:
        # another user's: it may be here
        return True
