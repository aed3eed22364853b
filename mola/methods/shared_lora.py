"""Hard sharing plus one low-rank adapter for all tasks: the control for MoLA's extra parameters.

Source: LoRA, Hu et al. 2022, arXiv 2106.09685, trained jointly with the backbone as in MoLA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pydantic import PositiveFloat
from torch import nn
from torch.nn import Parameter

from mola.layers.adapt import adapt
from mola.layers.gates import gate
from mola.methods import Method
from mola.methods._lora import freeze_base, trainable
from mola.models.heads import Heads
from mola.types import Batch, Factorisation, Output, Range, Rank, SearchSpace, Task


class SharedLoRA(Method):
    """MoLA with E = 1: y = (W + ΔW) x for every sample.

    freeze: train the adapter and heads alone, as published; the backbone's BatchNorm statistics rest too.
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
        freeze: bool = False,
    ) -> None:
        super().__init__(tasks, backbone)
        self.backbone = adapt(backbone(), experts=1, rank=rank, alpha=alpha, where=where, factorisation=factorisation)
        self.frozen = freeze_base(self.backbone) if freeze else ()
        self.heads = Heads(tasks, self.backbone)

    def forward(self, batch: Batch) -> Output:
        """Every sample through the one adapter."""
        with gate(self.backbone, torch.zeros(len(batch.x), dtype=torch.int64)):
            features = self.backbone(batch.x)  # (B, F)
        return Output(self.heads(features, batch), features=features)

    def shared_parameters(self) -> list[Parameter]:
        """The backbone and its adapter."""
        return trainable(self.backbone)
