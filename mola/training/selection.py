"""Which epoch a run reports: the best on the validation split, the earliest of equals. Test is not looked at.

What is best over several tasks: :func:`mola.metrics.overall`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mola.methods import Method
from mola.metrics import overall, ranking, undefined
from mola.training.evaluate import Scores
from mola.types import Task


class Selection:
    """Keeps the best state so far of every part of a method (see ``Method.parts``)."""

    def __init__(self, method: Method, tasks: tuple[Task, ...]) -> None:
        self.parts = method.parts()
        self.tasks = {task.name: task for task in tasks}
        self.best: dict[str, dict[str, Any]] = {}  # part → {"epoch", "score", "state"}

    def update(self, epoch: int, valid: Scores) -> None:
        """Look at the validation scores after an epoch (counted from 1). Raises ArithmeticError where the split does
        not define what ranks a task.
        """
        for part, (module, names) in self.parts.items():
            tasks = [self.tasks[name] for name in names]
            for task in tasks:
                if (metric := ranking(task)) in undefined(task, valid[task.name]):
                    what = f"valid {metric.words} of {task.name} is not defined"
                    raise ArithmeticError(
                        f"{what}: expected {metric.needs or 'targets'} on the validation split, found none"
                    )
            score = overall(valid, tasks)
            if score > self.best.get(part, {}).get("score", -math.inf):
                state: dict[str, Tensor] = {
                    key: value.detach().cpu().clone() for key, value in module.state_dict().items()
                }
                self.best[part] = {"epoch": epoch, "score": score, "state": state}

    def restore(self) -> dict[str, int]:
        """Load the best state into every part; returns part → selected epoch. Raises ArithmeticError where no epoch
        had finite scores.
        """
        for part, (module, names) in self.parts.items():
            if part not in self.best:
                raise ArithmeticError(f"no epoch gave finite validation metrics for {', '.join(names)}")
            module.load_state_dict(self.best[part]["state"])
        return {part: int(best["epoch"]) for part, best in self.best.items()}

    def state_dict(self) -> Mapping[str, Any]:
        """For the checkpoint."""
        return self.best

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From the checkpoint."""
        self.best = dict(state)
