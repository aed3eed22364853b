"""MoLA-Router: a router looks at the image and mixes the adapters per sample, trained with the Task-wise Decorrelation
loss.

Source: arXiv 2406.09679, Section 3, target-agnostic MoLA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import nn
from torch.nn import Parameter

from mola.layers.adapt import adapt
from mola.layers.gates import gate
from mola.layers.router import Router
from mola.losses import task_decorrelation
from mola.methods import Method
from mola.methods._lora import freeze_base, trainable
from mola.models.heads import Heads
from mola.types import Batch, Factorisation, Output, Range, Rank, SearchSpace, Task


class MoLARouter(Method):
    """γ = softmax(router(x)); in every adapted layer y_i = W x_i + Σ_e γ_ie ΔW_e x_i. The task's id picks the head
    alone.

    experts:       None: one per task.
    twd:           weight of the TwD loss; 0 leaves it out.
    temperature:   τ of the TwD loss.
    twd_on:        what the TwD loss sees: projection, Linear(E → projection)(scores), as in the released code; scores,
                   before the softmax; weights, after it.
    projection:    its number of outputs.
    freeze:        train adapters, router and heads alone; the backbone's BatchNorm statistics rest too.
    router_width:  channels of the router's first stage; 16 is the paper's ResNet-20.
    router_blocks: residual blocks of each of the router's three stages; 3 is the paper's.
    router_pool:   the router sees the image average-pooled by this factor; 1 is the paper's.
    Differs from the released code: one optimiser steps everything (there, two over the same parameters), and TwD
                                    serves every benchmark.
    """

    search_space: ClassVar[SearchSpace] = {
        "rank": Range(1, 16, log=True),
        "alpha": Range(1.0, 64.0, log=True),
        "twd": Range(0.01, 1.0, log=True),
        "temperature": Range(0.1, 2.0, log=True),
    }

    def __init__(
        self,
        tasks: Sequence[Task],
        backbone: Callable[[], nn.Module],
        *,
        experts: PositiveInt | None = None,
        rank: Rank = 4,
        alpha: PositiveFloat = 16.0,
        where: str = r".*(layer|stages|blocks).*",
        factorisation: Factorisation = "loralib",
        freeze: bool = False,
        twd: NonNegativeFloat = 0.1,
        temperature: PositiveFloat = 1.0,
        twd_on: Literal["projection", "scores", "weights"] = "projection",
        projection: PositiveInt = 32,
        router_width: PositiveInt = 16,
        router_blocks: PositiveInt = 3,
        router_pool: PositiveInt = 1,
    ) -> None:
        super().__init__(tasks, backbone)
        experts = experts or len(tasks)
        self.backbone = adapt(
            backbone(), experts=experts, rank=rank, alpha=alpha, where=where, factorisation=factorisation
        )
        self.frozen = freeze_base(self.backbone) if freeze else ()
        self.heads = Heads(tasks, self.backbone)
        self.router = Router(experts, width=router_width, blocks=router_blocks, pool=router_pool)
        self.projection = nn.Linear(experts, projection) if twd and twd_on == "projection" else nn.Identity()
        self.twd, self.twd_on, self.temperature = twd, twd_on, temperature

    def forward(self, batch: Batch) -> Output:
        """Routes once, for the whole network."""
        scores = self.router(batch.x)  # (B, E)
        weights = scores.float().softmax(1)  # fp32 under autocast
        with gate(self.backbone, weights):
            features = self.backbone(batch.x)  # (B, F)
        predictions = self.heads(features, batch)
        aux_loss = None
        if (
            self.training and self.twd and batch.task is not None
        ):  # where every sample has every task there is nothing to decorrelate
            seen = self.projection(weights if self.twd_on == "weights" else scores)
            aux_loss = self.twd * task_decorrelation(seen, batch.task, self.temperature)
        return Output(predictions, weights, aux_loss, features)

    def shared_parameters(self) -> list[Parameter]:
        """Backbone, adapters, router and projection: every task reaches them."""
        return trainable(self.backbone, self.router, self.projection)
