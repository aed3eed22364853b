"""How far something with many bytes or items is: a bar on a terminal, nothing in a log file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from mola.terminal import console

Advance = Callable[[int, int | None], None]  # done, in all (None: unknown), in units


@contextmanager
def bar(title: str, total: int | None = None, unit: Literal["bytes", "items"] = "bytes") -> Iterator[Advance]:
    """Show ``title`` and what is done so far while the block runs; the yielded function says how far it is."""
    if not console().is_terminal:
        yield lambda done, total: None
        return
    from rich import progress

    text, remaining = progress.TextColumn("{task.description}", markup=False), progress.TimeRemainingColumn()
    counted = (progress.DownloadColumn(), progress.TransferSpeedColumn()) if unit == "bytes" else ()
    columns = text, progress.BarColumn(), *(counted or [progress.MofNCompleteColumn()]), remaining
    with progress.Progress(*columns, console=console(), transient=True) as shown:
        task = shown.add_task(title, total=total)
        # None, from a server that does not tell the size, leaves the known one standing
        yield lambda done, total: shown.update(task, completed=done, total=total)


def say(line: str) -> None:
    """One line on stderr, as it is: above a bar where there is one."""
    console().print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)
