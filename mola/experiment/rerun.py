"""A run once more, in a folder of its own, and whether it gave what its record says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mola.experiment.belonging import COMPUTING
from mola.experiment.record import Record
from mola.experiment.run import train
from mola.experiment.spec import Experiment
from mola.terminal import progress
from mola.types import BadInput

# what a run computes, in the order in which differences are listed; neither times nor sizes of memory
COMPUTED = ("status", "reason", "test", "selected", "valid", "oracle_selection", "curve", "weights_sha256")
TIMES = {"train_seconds"}


def rerun(experiment: Experiment, seed: int, scratch: Path, *, native: bool = False) -> Record:
    """Train a seed of an experiment below ``scratch``; nothing is written elsewhere. Raises BadInput.

    native: with the kernels of this processor, where it has no portable ones.
    """
    settings = experiment.settings
    if native:
        training = settings.training.model_copy(update={"deterministic": True})
        settings = settings.model_copy(update={"training": training})
    # what tuning found stands in the settings by now
    suite = experiment.suite.model_copy(update={"results": scratch, "tune": None})
    with progress(f"{experiment.name} seed {seed}") as on_step:
        return train(Experiment(suite, experiment.benchmark, experiment.label, settings), seed, on_step)


def prepared(experiment: Experiment) -> Experiment:
    """The experiment, with its data prepared where they were not. Raises BadInput where they can't be had."""
    data = experiment.data
    try:
        # some know their identity before there is an array
        next(data.batches("valid", size=1, seed=0, epoch=0))
    except BadInput:
        data.fetch()
        data.prepare()
    # one that looks at the data anew
    return Experiment(experiment.suite, experiment.benchmark, experiment.label, experiment.configured)


def differences(record: Record, again: Record) -> list[str]:
    """What two runs computed differently, a text each: ``test.mnist.accuracy 0.84, here 0.81``. NaN equals NaN."""
    old, new = (dict(_flat({key: computed(one)[key] for key in COMPUTED})) for one in (record, again))
    return [
        f"{key} {_short(old.get(key))}, here {_short(new.get(key))}"
        for key in dict.fromkeys([*old, *new])
        if json.dumps(old.get(key)) != json.dumps(new.get(key))
    ]


def computed(record: Record) -> dict[str, Any]:
    """What a run computes, as plain data: weights, scores, losses and the selected epochs."""
    content = record.model_dump(include=set(COMPUTED))
    content["curve"] = [{k: v for k, v in epoch.items() if k not in TIMES} for epoch in content["curve"]]
    return content


def other_surroundings(record: Record, here: dict[str, Any]) -> list[str]:
    """What differs of machine, threads and versions, to the last digit; ``here`` as ``mola.experiment.run.machine``.

    One processor is as good as another for portable runs.
    """
    pairs = {"device": (record.device, here["device"]), "threads": (record.threads, here["threads"])}
    if is_portable(record) and record.device.startswith("cpu") and here["device"].startswith("cpu"):
        del pairs["device"]
    pairs |= {name: (record.versions.get(name), here["versions"].get(name)) for name in COMPUTING}
    return [f"{name} {old}, here {new}" for name, (old, new) in pairs.items() if old != new]


def is_portable(record: Record) -> bool:
    """Whether a run's bits are to be the same on every processor with AVX2."""
    return bool(record.settings["training"].get("deterministic") == "portable")


def listed(items: list[str], most: int = 3) -> str:
    """The first items, and how many there are more."""
    return "; ".join(items[:most]) + (f"; and {len(items) - most} more" if len(items) > most else "")


def _flat(content: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict | list):
        entries = content.items() if isinstance(content, dict) else enumerate(content, 1)
        for key, value in entries:
            yield from _flat(value, f"{place}.{key}".strip("."))
    else:
        yield place.replace("weights_sha256", "weights"), content


def _short(value: Any) -> str:
    if isinstance(value, str):
        return f"{value[:8]}…" if len(value) == 64 else value
    return f"{value:.6g}" if isinstance(value, float) else str(value)
