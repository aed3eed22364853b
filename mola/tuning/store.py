"""The study on disk: a journal that outlives kills, shows its damage, and goes on only with what it began with.

One worker holds the study's folder, so that whatever else is found there of a worker is left over from a killed one.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from mola.types import BadInput, one_line

JOURNAL, OLD = "journal.log", "journal.old.log"
IDENTITY, OPTUNA = "identity", "optuna"  # what a study tells about itself
# what a trial tells about itself
REFUSED, FAILURE, EPOCHS, SECONDS, PARTS = "refused", "failure", "epochs", "seconds", "parts"
# what Optuna raises at lines that are not its own
DAMAGED = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError)
CHECKSUM = "crc32"  # of a line of the journal; those that are older than it have none


class Journal(JournalFileBackend):
    """Optuna's journal, a JSON object a line, each with a checksum of its content and its number: a score that a
    flipped bit changes, or a line that is lost, would choose other settings.
    """

    def __init__(self, path: Path) -> None:
        # the default lock, a symbolic link, is waited for without end where the path is relative
        super().__init__(str(path), JournalFileOpenLock(str(path)))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add lines."""
        first = Path(self._file_path).read_bytes().count(b"\n") + 1
        super().append_logs([{**line, CHECKSUM: _checksum(line, n)} for n, line in enumerate(logs, first)])

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """The lines from one on. Raises ValueError at one that was changed since it was written."""
        for number, line in enumerate(super().read_logs(log_number_from), log_number_from + 1):
            if not isinstance(line, dict):
                raise ValueError(f"line {number} is no mapping")
            content = {key: value for key, value in line.items() if key != CHECKSUM}
            if line.get(CHECKSUM, expected := _checksum(content, number)) != expected:
                raise ValueError(f"line {number} was changed since it was written, or lines before it are lost")
            yield content


def opened(folder: Path, name: str, identity: Mapping[str, Any]) -> optuna.Study:
    """The study in a folder that the caller holds, new if there is none; trials that a kill left running have failed.

    identity: what decides the draws and the values, as plain data. Raises BadInput if it is not what the study began
              with, nor if Optuna is another version.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / JOURNAL
    path.with_name(f"{JOURNAL}.lock").unlink(missing_ok=True)  # a killed worker's: Optuna would wait for half a minute
    _cut_torn_line(path)
    try:
        study = optuna.create_study(
            storage=JournalStorage(Journal(path)), study_name=name, direction="maximize", load_if_exists=True
        )
        incomplete = [trial.number for trial in finished(study) if not {EPOCHS, SECONDS} <= trial.user_attrs.keys()]
        if incomplete:
            raise ValueError(f"trial {incomplete[0]} without its epochs or seconds")
    except DAMAGED as error:
        raise BadInput(one_line(f"{path}: expected Optuna's journal, found {type(error).__name__}: {error}")) from None
    now = json.loads(json.dumps({**identity, OPTUNA: optuna.__version__}))
    if not study.user_attrs:
        study.set_user_attr(IDENTITY, now)  # in one write: a kill leaves all of it or nothing
    elif changes := list(_changes(began(study), now)):
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise BadInput(
            f"{path}: expected the study to go on as it began, found changed: {'; '.join(changes[:3])}{more}; "
            "mola tune --restart begins anew and keeps the old journal as journal.old.log"
        )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def began(study: optuna.Study) -> dict[str, Any]:
    """What the study began with: the identity, and ``optuna``, its version, which older journals hold apart."""
    apart = {key: value for key, value in study.user_attrs.items() if key == OPTUNA}
    return {**apart, **study.user_attrs.get(IDENTITY, {})}


def discard(folder: Path) -> None:
    """Put a study aside that is to begin anew."""
    if (folder / JOURNAL).is_file():
        (folder / JOURNAL).replace(folder / OLD)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """What the budget counts, in order: complete, diverged (with a value of −∞) and pruned trials; not killed ones."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def refused(study: optuna.Study) -> list[FrozenTrial]:
    """Draws that the model could not be built with."""
    failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    return [trial for trial in failed if REFUSED in trial.user_attrs]


def best(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The complete trial of the highest finite value, the earliest of equals."""
    scored = [t for t in trials if t.state is TrialState.COMPLETE and t.value is not None and math.isfinite(t.value)]
    return max(scored, key=lambda trial: trial.value or 0.0, default=None)


def _checksum(line: Mapping[str, Any], number: int) -> int:
    return zlib.crc32(json.dumps([number, line], sort_keys=True).encode())


def _cut_torn_line(path: Path) -> None:
    """A kill in the middle of a write leaves a line without an end, to which the next would be glued."""
    if path.is_file() and not (content := path.read_bytes()).endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)


def _changes(old: Any, new: Any, place: str = "") -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*new, *(key for key in old if key not in new)]:
            yield from _changes(old.get(key), new.get(key), f"{place}.{key}" if place else key)
    elif old != new:
        short = len(str(old)) + len(str(new)) < 80
        yield f"{place}: {old} → {new}" if short and place not in ("code", "manifest", "data") else place or "all"
