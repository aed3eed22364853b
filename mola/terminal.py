"""The one terminal: progress bars and log lines that know of each other, so that neither overwrites the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[[int, int | None], None]  # (done, total) in units; a total of None leaves the known one


@cache
def console() -> Console:
    """The console of stderr: results go to stdout."""
    from rich.console import Console

    return Console(stderr=True)


def say(line: str) -> None:
    """Print one line on stderr, as it is: above a bar where there is one."""
    console().print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)


@contextmanager
def changing() -> Iterator[Callable[[str], None]]:
    """A function that shows a line in the place of the one before; where stdout is no terminal, below it, if new."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    out = Console()
    if out.is_terminal:
        with Live(console=out, auto_refresh=False) as live:
            yield lambda line: live.update(Text(line), refresh=True)
        return
    last: list[str] = []

    def show(line: str) -> None:
        if last != [line]:
            last[:] = [line]
            print(line, flush=True)

    yield show


@contextmanager
def progress(title: str, total: int | None = None, unit: Literal["bytes", "items"] = "items") -> Iterator[Advance]:
    """Show a bar on a terminal while the block runs, and nothing elsewhere: in a log file the lines are enough.

    The block is given a function that moves the bar.
    """
    if not console().is_terminal:
        yield lambda done, total: None
        return
    from rich import progress as rich

    counts = (rich.DownloadColumn(), rich.TransferSpeedColumn()) if unit == "bytes" else (rich.MofNCompleteColumn(),)
    text, remaining = rich.TextColumn("{task.description}", markup=False), rich.TimeRemainingColumn()
    with rich.Progress(text, rich.BarColumn(), *counts, remaining, console=console(), transient=True) as bars:
        bar = bars.add_task(title, total=total)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
