"""The training losses of one epoch, step by step, as they stay on the device until somebody asks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class Diverged(ArithmeticError):
    """A loss is not finite; the message says which, and at which step of the epoch."""

    def __init__(self, epoch: int, step: int, names: Sequence[str]) -> None:
        super().__init__(f"training diverged in epoch {epoch}, step {step}: loss of {', '.join(names)} is not finite")
        self.step = step


class EpochLosses:
    """Losses () by task name, each with the steps (counted from 1) that had the task."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.clear()

    def clear(self) -> None:
        """Begin an epoch."""
        self.steps: dict[str, list[int]] = defaultdict(list)
        self.values: dict[str, list[Tensor]] = defaultdict(list)

    def add(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """The losses of a step."""
        for name, loss in losses.items():
            self.steps[name].append(step)
            self.values[name].append(loss)

    def means(self, epoch: int) -> dict[str, float]:
        """The mean of every task's losses, by name; waits for the device. Raises Diverged.

        epoch: counted from 1, for the message.
        """
        stacked = {name: torch.stack(values) for name, values in self.values.items()}
        means = {name: float(values.mean()) for name, values in stacked.items()}
        if bad := [name for name, mean in means.items() if not abs(mean) < float("inf")]:
            step = min(self._first(name, stacked[name]) for name in bad)
            raise Diverged(epoch, step, bad)
        return means

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint: (steps of the task,) each."""
        return {
            name: {"steps": torch.tensor(self.steps[name]), "values": torch.stack(values)}
            for name, values in self.values.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From the checkpoint, to the device."""
        self.clear()
        for name, saved in state.items():
            self.steps[name] = saved["steps"].tolist()
            self.values[name] = list(saved["values"].to(self.device).unbind())

    def _first(self, name: str, values: Tensor) -> int:
        """The first step whose loss is not finite; where the mean alone is not, the last."""
        positions = (~values.isfinite()).nonzero().flatten().tolist()
        return self.steps[name][positions[0] if positions else -1]
