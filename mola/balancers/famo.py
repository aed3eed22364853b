"""FAMO: weights that even out how fast the losses fall, at the cost of the sum.

Source: Liu et al. 2023, Fast Adaptive Multitask Optimization, arXiv 2306.03792, Algorithm 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from mola.balancers._base import total_of
from mola.balancers._stepped import Stepped
from mola.balancers._weighting import LossWeighting
from mola.types import Range, SearchSpace, Task

EPSILON = 1e-8  # the released code's, against log 0


class FAMO(LossWeighting):
    """L = c Σ_t z_t log L_t, z = softmax(xi), c = 1 / Σ_t z_t/L_t; xi descends on z · (log L_before − log L_after).

    xi has an Adam of its own, as in the released code, with the paper's rate and decay.
    Differs from the original: L_after is the task's loss on its next batch, where the original runs a second forward
    pass on the same one. The softmax runs over the tasks present. A loss of at most 1e-8 counts as absent: a batch
    without a pixel that counts says nothing of how fast the task learns, and 1/L would take all weight from the rest.
    """

    class Options(LossWeighting.Options):
        lr: PositiveFloat = Field(0.025, description="of xi's own Adam")
        decay: NonNegativeFloat = Field(0.001, description="weight decay of xi's own Adam")

    size = "mean"
    search_space: ClassVar[SearchSpace] = {"lr": Range(0.001, 0.1, log=True), "decay": Range(1e-5, 1e-1, log=True)}

    def __init__(self, tasks: Sequence[Task], device: torch.device | None, options: Options) -> None:
        super().__init__(tasks, device, options)
        self.xi = Stepped(self.names, 0.0, device, options.lr, options.decay)
        # log L of each task's last batch
        self.before: dict[str, Tensor] = {}

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Steps xi by what the last step did to the losses, then weighs them."""
        values = torch.stack(list(losses.values())).detach()
        counts = (values > EPSILON).tolist()
        if not any(counts):
            return total_of(losses.values())
        logs = {n: (loss + EPSILON).log() for (n, loss), kept in zip(losses.items(), counts, strict=True) if kept}
        self._step({name: self.before[name] - log.detach() for name, log in logs.items() if name in self.before})
        self.before |= {name: log.detach() for name, log in logs.items()}
        weights = self.xi.of(list(logs)).softmax(0)
        weights = weights / (weights / (values[counts] + EPSILON)).sum()
        # a task that is left out still gives its own parameters a gradient, of zero
        zeros = [0 * loss for name, loss in losses.items() if name not in logs]
        return total_of([*(weight * log for weight, log in zip(weights, logs.values(), strict=True)), *zeros])

    def _step(self, fallen: Mapping[str, Tensor]) -> None:
        if len(fallen) < 2:
            return
        names, delta = list(fallen), torch.stack(list(fallen.values()))
        z = self.xi.of(names).to(delta).softmax(0)
        self.xi.step(dict(zip(names, z * (delta - z @ delta), strict=True)))

    def state_dict(self) -> dict[str, object]:
        """xi with its optimiser, and the last losses' logarithms by task name."""
        return {"xi": self.xi.state_dict(), "before": dict(self.before)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.xi.load_state_dict(cast("dict[str, object]", state["xi"]))
        self.before = {n: v.to(self.device) for n, v in cast("dict[str, Tensor]", state["before"]).items()}
