"""MoLA-Router: a router looks at the image and mixes the adapters per sample; with the Task-wise Decorrelation loss.

Source: arXiv 2406.09679, Section 3, target-agnostic MoLA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from mola.losses import task_decorrelation
from mola.methods._adapted import Gates
from mola.methods._routed import RoutedMethod
from mola.types import Batch, Range, SearchSpace, Task


class MoLARouter(RoutedMethod):
    """γ = softmax(router(x)); in every adapted layer y_i = W x_i + Σ_e γ_ie ΔW_e x_i. The task's id picks the head
    alone.

    Differs from the released code: one optimiser steps everything (there, two over the same parameters), and TwD
                                    serves every benchmark.
    """

    class Options(RoutedMethod.Options):
        twd: NonNegativeFloat = Field(0.1, description="weight of the TwD loss; 0 leaves it out")
        temperature: PositiveFloat = Field(1.0, description="τ of the TwD loss")
        twd_on: Literal["projection", "scores", "weights"] = Field(
            "projection", description="input of TwD: linear in the scores, as released; scores; weights, their softmax"
        )
        projection: PositiveInt = Field(32, description="outputs of the projection")

    search_space: ClassVar[SearchSpace] = {
        **RoutedMethod.search_space,
        "twd": Range(0.01, 1.0, log=True),
        "temperature": Range(0.1, 2.0, log=True),
    }

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Options) -> None:
        super().__init__(tasks, backbone, options)
        projected = options.twd and options.twd_on == "projection"
        experts = self.experts_for(tasks, options)
        self.projection = nn.Linear(experts, options.projection) if projected else nn.Identity()
        self.twd, self.twd_on, self.temperature = options.twd, options.twd_on, options.temperature

    def gates(self, batch: Batch) -> Gates:
        """All adapters, weighed; the softmax is in fp32 under autocast."""
        scores = self.router(batch.images)  # (B, E)
        weights = scores.float().softmax(1)
        return Gates(weights, weights, weights if self.twd_on == "weights" else scores)

    def aux_loss(self, batch: Batch, gates: Gates) -> Tensor | None:
        """The TwD loss. Where every sample has every task there is nothing to decorrelate."""
        if not self.twd or batch.task is None:
            return None
        return self.twd * task_decorrelation(self.projection(gates.scores), batch.task, self.temperature)
