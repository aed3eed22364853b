"""What follows a run while it trains, on request (``log`` in the suite): a table, TensorBoard, DVCLive.

Loggers get the learning curve, and change nothing: no fingerprint knows of them, and an error of one ends that
logger alone.
"""

from __future__ import annotations

import csv
import io
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mola.files import write_text
from mola.types import BadInput

log = logging.getLogger(__name__)
Epoch = Mapping[str, Any]  # with the keys of mola.experiment.record.Epoch
OnEpoch = Callable[[Sequence[Epoch]], None]  # the curve so far
CSV, TENSORBOARD, DVCLIVE = "curve.csv", "tensorboard", "dvclive"  # in the run's folder


@contextmanager
def logged(names: Sequence[str], folder: Path) -> Iterator[OnEpoch]:
    """Inside, a function that takes the curve after every epoch, and tells the loggers of these names what is new.

    Nothing is written before the function is called. Raises BadInput where the package of one is not installed.
    """
    for name in names:
        if name != "csv" and find_spec(name) is None:
            raise BadInput(f"log: expected {name} to be installed, found none; pip install 'mola-bench[log]'")
    with ExitStack() as stack:
        open_loggers: dict[str, OnEpoch] = {}
        failed: set[str] = set()

        def on_epoch(curve: Sequence[Epoch]) -> None:
            for name in names:
                try:
                    if name not in open_loggers and name not in failed:
                        open_loggers[name] = _open(name, folder, stack)
                    if name in open_loggers:
                        open_loggers[name](curve)
                # whatever it is, the run is worth more
                except Exception as error:
                    log.warning("%s: %s stopped logging: %s: %s", folder, name, type(error).__name__, error)
                    open_loggers.pop(name, None)
                    failed.add(name)

        yield on_epoch


def values(epoch: Epoch) -> dict[str, float]:
    """The numbers of an epoch, by names such as ``train/mnist`` and ``valid/mnist/accuracy``."""
    flat = {key: float(epoch[key]) for key in ("lr", "steps", "train_seconds")}
    flat |= {f"train/{task}": float(loss) for task, loss in epoch["train"].items()}
    scores = epoch["valid"].items()
    return flat | {f"valid/{task}/{metric}": float(v) for task, each in scores for metric, v in each.items()}


def _open(name: str, folder: Path, stack: ExitStack) -> OnEpoch:
    if name == "csv":
        return lambda curve: _write_table(folder / CSV, curve)
    write = _tensorboard(folder, stack) if name == "tensorboard" else _dvclive(folder, stack)
    # a resumed run tells its first epochs anew: after a kill nobody knows which of them arrived
    count = 0

    def on_epoch(curve: Sequence[Epoch]) -> None:
        nonlocal count
        for epoch in curve[count:]:
            write(int(epoch["epoch"]), values(epoch))
        count = len(curve)

    return on_epoch


def _write_table(path: Path, curve: Sequence[Epoch]) -> None:
    rows = [{"epoch": epoch["epoch"], **values(epoch)} for epoch in curve]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["epoch"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _tensorboard(folder: Path, stack: ExitStack) -> Callable[[int, dict[str, float]], None]:
    from torch.utils.tensorboard import SummaryWriter

    shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
    writer = SummaryWriter(str(folder / TENSORBOARD))  # type: ignore[no-untyped-call]
    stack.callback(writer.close)  # type: ignore[no-untyped-call]

    def write(epoch: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, epoch)  # type: ignore[no-untyped-call]
        writer.flush()  # type: ignore[no-untyped-call]

    return write


def _dvclive(folder: Path, stack: ExitStack) -> Callable[[int, dict[str, float]], None]:
    from dvclive import Live

    shutil.rmtree(folder / DVCLIVE, ignore_errors=True)
    live = Live(str(folder / DVCLIVE), save_dvc_exp=False, dvcyaml=None, report=None, monitor_system=False)
    stack.callback(live.end)

    def write(epoch: int, numbers: dict[str, float]) -> None:
        live.step = epoch
        for name, value in numbers.items():
            live.log_metric(name, value)
        live.make_summary()

    return write
