"""Dynamic weight average: a task whose loss falls slowly weighs more.

Source: Liu, Johns and Davison 2019, arXiv 1803.10704.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from mola.balancers._base import total_of
from mola.balancers._weighting import LossWeighting
from mola.types import Range, SearchSpace, Task

SMALLEST = 1e-8  # the rate of a task whose loss was 0


class DWA(LossWeighting):
    """w_t = T · softmax_t(r_t / temperature), r_t the task's mean loss of the last epoch over that of the one before;
    1 until a task has two epochs. The softmax runs over the T tasks present.

    TorchJD's refuses a batch that lacks a task, and saves no state.
    """

    class Options(LossWeighting.Options):
        temperature: PositiveFloat = Field(2.0, description="of the softmax; the higher, the more even")

    options: Options
    size = "sum"
    search_space: ClassVar[SearchSpace] = {"temperature": Range(0.5, 10.0, log=True)}

    def __init__(self, tasks: Sequence[Task], device: torch.device | None, options: Options) -> None:
        super().__init__(tasks, device, options)
        # this epoch's losses: sum and number
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        # of the last two epochs, older first
        self.means: dict[str, list[Tensor]] = {}

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Σ_t w_t L_t; remembers the losses."""
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + loss.detach()
            self.counts[name] = self.counts.get(name, 0) + 1
        rates = torch.stack([self._rate(name, loss.detach()) for name, loss in losses.items()])
        weights = len(losses) * torch.softmax(rates / self.options.temperature, 0)
        return total_of(weight * loss for weight, loss in zip(weights, losses.values(), strict=True))

    def _rate(self, name: str, like: Tensor) -> Tensor:
        older, newer = self.means[name] if len(self.means.get(name, ())) == 2 else (like.new_ones(()),) * 2
        return newer / older.clamp(min=SMALLEST)

    def end_epoch(self) -> None:
        """The epoch's mean losses become history."""
        for name, total in self.sums.items():
            self.means[name] = [*self.means.get(name, []), total / self.counts[name]][-2:]
        self.sums, self.counts = {}, {}

    def state_dict(self) -> dict[str, object]:
        """By task name: this epoch's sums and counts, the means of two epochs."""
        return {
            "sums": dict(self.sums),
            "counts": dict(self.counts),
            "means": {n: list(m) for n, m in self.means.items()},
        }

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Puts the tensors on the balancer's device."""
        self.sums = {n: s.to(self.device) for n, s in cast("dict[str, Tensor]", state["sums"]).items()}
        self.counts = dict(cast("dict[str, int]", state["counts"]))
        means = cast("dict[str, list[Tensor]]", state["means"])
        self.means = {n: [m.to(self.device) for m in two] for n, two in means.items()}
