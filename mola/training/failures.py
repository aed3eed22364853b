"""What a record says of an error that ended a training."""

from __future__ import annotations

import errno
from pathlib import Path
from traceback import extract_tb
from typing import Any

import torch

from mola.data.disk import FULL
from mola.faults import line_of
from mola.training.epoch_losses import Diverged
from mola.training.fit import Outcome

LINES = 3  # places in the code
# errors of the disk, which say nothing of the run
OF_THE_DISK = {*FULL, errno.EROFS, errno.EIO, errno.ESTALE}
OF_THE_MACHINE = {*OF_THE_DISK, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


def is_of_the_disk(error: Exception) -> bool:
    """Whether the disk is to blame, so that the run is as good as before."""
    return isinstance(error, OSError) and error.errno in OF_THE_DISK


def is_of_the_machine(error: BaseException) -> bool:
    """Whether an error, or what it came from, is one of files or of the system that says nothing of the settings: of
    those that a plugin's code raised, a full disk, too many open files, too little memory; all others.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__
    return cause is not None and (cause.errno in OF_THE_MACHINE or line_of(cause) is None)


def described(error: Exception, outcome: Outcome, log: Path) -> dict[str, Any]:
    """The record's ``failure``. outcome: what there was when the error came."""
    frames = extract_tb(error.__traceback__)[-LINES:]
    return {
        "kind": _kind(error),
        "phase": outcome.phase,
        "epoch": outcome.epoch,
        "step": error.step if isinstance(error, Diverged) else outcome.step,
        # without folders, which differ from machine to machine
        "lines": [f"{Path(frame.filename).name}:{frame.lineno}, in {frame.name}: {frame.line}" for frame in frames],
        "log": str(log),
    }


def reason(error: Exception) -> str:
    """An error in one line; of memory with what helps, where the run could not help itself."""
    if isinstance(error, Diverged):
        return str(error)
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    if isinstance(error, torch.OutOfMemoryError):
        return f"{text}; batches in parts would be another update here, or are too small: lower training.batch_size"
    return text


def _kind(error: Exception) -> str:
    if isinstance(error, torch.OutOfMemoryError):
        return "out of memory"
    # of other places that look: gradients, validation
    not_finite = type(error) is ArithmeticError and "finite" in str(error)
    return "diverged" if isinstance(error, Diverged) or not_finite else "error"
