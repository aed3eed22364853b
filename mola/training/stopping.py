"""SIGTERM and SIGINT: a training ends after its current step, with a checkpoint; a second signal, a second later or
more, ends it at once.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# at a job's time limit SLURM sends SIGTERM twice, 72 ms apart as measured
SAME = 1.0  # seconds within which signals are one request
# what a command says that ends outside of a training
AFTER = "what was finished stays; fetch, prepare, tune, train and reproduce --certify go on from there"


class Stopped(BaseException):
    """A signal ended the work; the message says where it goes on. No error: whoever keeps failures lets it pass."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number

    @property
    def exit_code(self) -> int:
        """143 for SIGTERM, 130 for SIGINT, as a shell has them."""
        return 128 + self.number


class Request:
    """What a signal asked for. number: of the first signal; 0 as long as there was none."""

    def __init__(self) -> None:
        self.number = 0
        self._time = 0.0

    def heard(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal; a later one that is not the same request ends the process, as by default."""
        if not self.number:
            self.number, self._time = number, time.monotonic()
        elif time.monotonic() - self._time >= SAME:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def stopped(self, where: str) -> Stopped:
        """What to raise."""
        name = signal.Signals(self.number).name
        return Stopped(self.number, f"stopped by {name} {where}; the same command goes on")


@contextmanager
def requests() -> Iterator[Request]:
    """Hear signals while the block runs, and do nothing about them but remember. Threads other than the main one hear
    none.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    # one that is ignored stays so: a shell's jobs in the background have no Ctrl-C
    before = {each: handler for each in SIGNALS if (handler := signal.getsignal(each)) != signal.SIG_IGN}
    for each in before:
        signal.signal(each, request.heard)
    try:
        yield request
    finally:
        for each, handler in before.items():
            # None: of another language's, which Python can't put back
            signal.signal(each, signal.SIG_DFL if handler is None else handler)


@contextmanager
def termination_as_exception() -> Iterator[None]:
    """Raise Stopped at SIGTERM while the block runs, so that it cleans up: as Python does at SIGINT."""
    request = Request()

    def ended(number: int, frame: FrameType | None) -> None:
        is_first = not request.number
        request.heard(number, frame)
        if is_first:
            raise Stopped(number, f"stopped by {signal.Signals(number).name}; {AFTER}")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, ended)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
