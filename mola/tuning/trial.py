"""One trial: training as a run's, with other settings and seeds, scored on valid. Nothing here reads test."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mola.metrics import overall
from mola.sections import Settings
from mola.seeds import derive
from mola.training.build import build
from mola.training.fit import Curve, OnStep, fit
from mola.types import BadInput

OnScore = Callable[[int, float], None]  # epochs done over all seeds of the trial, score on valid after the last of them


class Refused(Exception):
    """The model can't be built with these values, such as a rank above a layer's channels; nothing was trained."""


class Score(NamedTuple):
    """What a trial reached on valid: ``mola.metrics.overall`` at the selected epoch, higher is better.

    parts: the same of every part of the method (see ``Method.parts``), over the part's own tasks.
    """

    value: float
    parts: dict[str, float]


@dataclass(frozen=True)
class Workplace:
    """Where trials train."""

    data: Path
    device: torch.device
    folder: Path
    fingerprint: str  # of the study and its data, then of the draw: a checkpoint of another one is of no use

    def of(self, drawn: Mapping[str, Any]) -> Workplace:
        """The workplace of one draw."""
        return replace(self, fingerprint=f"{self.fingerprint} {json.dumps(drawn, sort_keys=True)}")

    def checkpoint(self, index: int) -> Path:
        """Of the trial's n-th seed."""
        return self.folder / f"checkpoint{index}.pt"

    def clear(self) -> None:
        """Remove the checkpoints of a finished trial."""
        for path in self.folder.glob("checkpoint*.pt"):
            path.unlink()


def seeds(number: int) -> list[int]:
    """The seeds of every trial of every study, derived apart from those of runs, whatever these are."""
    return [derive(index, "tuning") for index in range(number)]


def score(settings: Settings, number: int, workplace: Workplace, on_score: OnScore, on_step: OnStep) -> Score:
    """The mean of ``number`` seeds.

    A trial that was killed goes on from its checkpoints, and tells ``on_score`` of the earlier epochs again.
    Raises Refused, and ArithmeticError where training diverges.
    """
    scores = [_seed(settings, index, number, workplace, on_score, on_step) for index in range(number)]
    parts = {name: statistics.fmean(score.parts[name] for score in scores) for name in scores[0].parts}
    return Score(statistics.fmean(score.value for score in scores), parts)


def _seed(
    settings: Settings, index: int, number: int, workplace: Workplace, on_score: OnScore, on_step: OnStep
) -> Score:
    seed, epochs, reported = seeds(number)[index], settings.training.epochs, 0
    try:
        benchmark, method, balancer = build(settings, workplace.data, seed, workplace.device)
    except BadInput as error:
        raise Refused(str(error)) from error

    def on_epoch(curve: Curve) -> None:
        nonlocal reported
        for epoch in curve[reported:]:
            reported = epoch["epoch"]
            on_score(index * epochs + reported, overall(epoch["valid"], benchmark.tasks))

    def of_all(done: int, total: int) -> None:
        on_step(index * total + done, number * total)

    outcome = fit(
        method,
        balancer,
        benchmark,
        settings.training,
        seed=seed,
        device=workplace.device,
        path=workplace.checkpoint(index),
        fingerprint=f"{workplace.fingerprint} {seed}",
        on_step=of_all,
        on_epoch=on_epoch,
        test=False,
    )
    if not math.isfinite(value := overall(outcome.valid, benchmark.tasks)):
        raise ArithmeticError("the validation score at the selected epoch is not finite")
    tasks = {task.name: task for task in benchmark.tasks}
    parts = method.parts().items()
    return Score(value, {part: overall(outcome.valid, [tasks[name] for name in names]) for part, (_, names) in parts})
