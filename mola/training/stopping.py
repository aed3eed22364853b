"""SIGTERM and SIGINT: a training ends after its current step, with a checkpoint; a second signal ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


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

    def heard(self, number: int, frame: FrameType | None) -> None:
        """Remember the signal, and leave the next one to the system, which ends the process."""
        self.number = number
        for each in SIGNALS:
            if signal.getsignal(each) != signal.SIG_IGN:
                signal.signal(each, signal.SIG_DFL)

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

    def ended(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Stopped(
            number, f"stopped by {signal.Signals(number).name}; the same command goes on where this one stopped"
        )

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, ended)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
