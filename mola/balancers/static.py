"""Static weights: every task's loss times a number that the configuration gives.

Source: the sweep of fixed scalars that Xin et al. 2022, arXiv 2209.11379, and Kurin et al. 2022 compare with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from mola import registry
from mola.balancers._base import total_of
from mola.balancers._weighting import LossWeighting
from mola.types import BadInput, PerTask, Range, SearchSpace, Task


class Static(LossWeighting):
    """L = Σ_t w_t L_t.

    Tuning sweeps the weights with mean 1, on the simplex as in the source, where it is a grid or random.
    """

    class Options(LossWeighting.Options):
        weights: dict[str, NonNegativeFloat] | None = Field(None, description="by task name; 1 where not named")

    additive = True
    search_space: ClassVar[SearchSpace] = {"weights": PerTask(Range(0.1, 10.0, log=True))}

    def __init__(self, tasks: Sequence[Task], device: torch.device | None, options: Options) -> None:
        super().__init__(tasks, device, options)
        self.weights = dict(options.weights or {})
        for name in self.weights:
            if name not in self.names:
                hint = registry.did_you_mean(name, self.names)
                raise BadInput(f"balancer.weights: expected names of {', '.join(self.names)}, found '{name}'{hint}")

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Σ_t w_t L_t."""
        return total_of(self.weights.get(name, 1.0) * loss for name, loss in losses.items())
