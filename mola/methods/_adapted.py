"""Low-rank methods: one backbone with adapters, which differ in the gate alone that each opens for a batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import Parameter

from mola.layers.adapt import adapt
from mola.layers.adapter import LowRank, adapter_parameters
from mola.layers.expand import every_expert
from mola.layers.gates import gate
from mola.methods import Method
from mola.models.heads import Heads
from mola.types import Batch, Factorisation, Output, Range, Rank, SearchSpace, Task


@dataclass(frozen=True)
class Gates:
    """What a low-rank method decides about a batch before its backbone runs.

    gate:    which experts each sample gets: (B,) int64 indices, (B, E) weights, or (B, k) weights with the (B, k) int64
             experts that they belong to, see :func:`mola.layers.gates.gate`.
    routing: (B, E) weights to report, where the method learns them.
    scores:  (B, E), what the auxiliary loss is computed from, where there is one.
    """

    gate: Tensor | tuple[Tensor, Tensor]
    routing: Tensor | None = None
    scores: Tensor | None = None


class AdaptedMethod(Method):
    """y = (W + Σ_e γ_e ΔW_e) x in every adapted layer, and a head per task. A subclass states γ in :meth:`gates`."""

    class Options(Method.Options):
        rank: Rank = Field(4, description="r of every adapter, or regular expressions of layer names with their ranks")
        alpha: PositiveFloat = Field(16.0, description="α; updates are scaled by α / r")
        where: str = Field(
            r".*(layer|stages|blocks).*",
            description="regular expression that the whole name of a layer must match to be adapted",
        )
        factorisation: Factorisation = Field(
            "loralib", description="of a convolution's update: loralib, the paper's, or two_conv, PEFT's"
        )
        freeze: bool = Field(
            False,
            description="leave the backbone's weights and BatchNorm statistics as they are, as LoRA does; those of "
            "norm: task learn, as adapters do",
        )

    search_space: ClassVar[SearchSpace] = {"rank": Range(1, 16, log=True), "alpha": Range(1.0, 64.0, log=True)}

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Options) -> None:
        super().__init__(tasks, backbone, options)
        self.backbone = adapt(
            backbone(),
            experts=self.experts_for(tasks, options),
            rank=options.rank,
            alpha=options.alpha,
            where=options.where,
            factorisation=options.factorisation,
        )
        if options.freeze:
            free = set(self.adapter_parameters())
            for parameter in self.backbone.parameters():
                parameter.requires_grad_(parameter in free)
            self.frozen = (self.backbone,)
        self.heads = Heads(tasks, self.backbone)

    def experts_for(self, tasks: Sequence[Task], options: Options) -> int:
        """E: one adapter per task, unless a subclass says otherwise."""
        return len(tasks)

    @abstractmethod
    def gates(self, batch: Batch) -> Gates:
        """Which adapters each sample gets."""

    def aux_loss(self, batch: Batch, gates: Gates) -> Tensor | None:
        """() an auxiliary loss of training, weighted; None where there is none."""
        return None

    def forward(self, batch: Batch) -> Output:
        """One pass of the backbone under the gates, which are decided once, for the whole network."""
        gates = self.gates(batch)
        with gate(self.backbone, gates.gate):
            features = self.backbone(batch.x)  # (B, F)
        predictions = self.heads(features, batch)
        aux_loss = self.aux_loss(batch, gates) if self.training else None
        return Output(predictions, gates.routing, aux_loss, features)

    def shared_parameters(self) -> list[Parameter]:
        """All that learns, except for the heads and the tasks' norms."""
        others = {*self.heads.parameters(), *self.norm_parameters()}
        return [p for p in self.parameters() if p.requires_grad and p not in others]

    def adapter_parameters(self) -> list[Parameter]:
        """A and B of every adapted layer."""
        return adapter_parameters(self.backbone)

    @torch.no_grad()
    def expert_sizes(self) -> dict[str, list[float]]:
        """Layer → ‖ΔW_e‖ of its E adapters, by Frobenius, to four significant digits."""
        return {
            name: [float(f"{size:.4g}") for size in layer.delta().flatten(1).norm(dim=1).tolist()]
            for name, layer in self.named_modules()
            if isinstance(layer, LowRank)
        }


class TaskGatedMethod(AdaptedMethod):
    """A low-rank method whose gate is the task's, the same for all its samples: it needs the task's id at inference."""

    @abstractmethod
    def task_gates(self) -> Tensor:
        """(T,) int64 experts, or (T, E) weights: a row per task."""

    def gates(self, batch: Batch) -> Gates:
        """Each sample's is that of its task."""
        assert batch.task is not None
        gates = self.task_gates()
        return Gates(gates[batch.task.to(gates.device)])

    def forward(self, batch: Batch) -> Output:
        """One pass. Where each sample has all tasks, it meets the gates of all tasks present; what lies before the
        first adapted layer is shared.
        """
        if batch.task is not None:
            return super().forward(batch)
        present = [number for number, name in enumerate(batch.tasks) if name in batch.y]
        with every_expert(self.backbone, len(batch.x), self.task_gates()[present]):
            features = self.backbone(batch.x)  # (T·B, F), task by task
        predictions: dict[str, Tensor] = {}
        for number, of_task in zip(present, features.chunk(len(present)), strict=True):
            predictions |= self.heads(of_task, batch.only(batch.tasks[number]))
        return Output(predictions, features=features)


class MixedMethod(AdaptedMethod):
    """A low-rank method that is free in the number of its adapters, as it mixes them."""

    class Options(AdaptedMethod.Options):
        experts: PositiveInt | None = Field(None, description="E, the number of adapters; null: one per task")

    def experts_for(self, tasks: Sequence[Task], options: AdaptedMethod.Options) -> int:
        """E, as the options say."""
        assert isinstance(options, MixedMethod.Options)
        return options.experts or len(tasks)
