"""MoLA-Grad: the task's id picks the adapter, so that conflicting gradients reach different adapters.

Source: arXiv 2406.09679, Section 3, target-aware MoLA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.nn import Parameter

from mola.layers.adapt import adapt
from mola.layers.gates import gate
from mola.methods import Method
from mola.models.backbones import width
from mola.models.heads import Heads
from mola.types import Batch, Factorisation, Output, Range, Rank, SearchSpace, Task


class MoLAGrad(Method):
    """y = (W + ΔW_t) x with E = T. Needs the task's id at inference.

    Differs from the released code: one forward pass per step, where that repeats an identical pass T times (T
                                    BatchNorm updates).
    """

    search_space: ClassVar[SearchSpace] = {"rank": Range(1, 16, log=True), "alpha": Range(1.0, 64.0, log=True)}

    def __init__(
        self,
        tasks: Sequence[Task],
        backbone: Callable[[], nn.Module],
        *,
        rank: Rank = 4,
        alpha: PositiveFloat = 16.0,
        where: str = r".*(layer|stages|blocks).*",
        factorisation: Factorisation = "loralib",
    ) -> None:
        super().__init__(tasks, backbone)
        self.backbone = adapt(
            backbone(), experts=len(tasks), rank=rank, alpha=alpha, where=where, factorisation=factorisation
        )
        self.heads = Heads(tasks, width(self.backbone))

    def forward(self, batch: Batch) -> Output:
        """One pass where each sample has one task; one pass per task where each sample has all of them."""
        if batch.task is not None:
            with gate(self.backbone, batch.task):
                features = self.backbone(batch.x)  # (B, F)
            return Output(self.heads(features, batch), features=features)
        passes = []
        for expert in range(len(self.task_names)):
            with gate(self.backbone, torch.full((len(batch.x),), expert)):
                passes.append(self.backbone(batch.x))
        features = torch.cat(passes)  # (T·B, F)
        predictions: dict[str, Tensor] = {}
        for name, own in zip(self.task_names, features.chunk(len(passes)), strict=True):
            predictions |= self.heads(own, Batch(batch.x, None, {name: batch.y[name]}, (name,)))
        return Output(predictions, features=features)

    def shared_parameters(self) -> list[Parameter]:
        """The backbone without its adapters: those belong to one task each."""
        return [p for name, p in self.backbone.named_parameters() if name.rpartition(".")[2] not in ("A", "B")]
