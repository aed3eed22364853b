"""Random gate: adapters mixed per sample as the image says, by a function that never learns. A control for routers.

Source: a control of this project; fixed random routing was found strong by Roller et al. 2021, Hash Layers (arXiv
2106.04426).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import Parameter

from mola.layers.adapt import adapt
from mola.layers.gates import gate
from mola.methods import Method
from mola.methods._experts import GATE_INPUTS, gate_input
from mola.methods._lora import freeze_base, trainable
from mola.models.heads import Heads
from mola.types import Batch, Factorisation, Output, Range, Rank, SearchSpace, Task


class LoRARandomGate(Method):
    """γ = softmax(sharpness · P z), z the image pooled to 8×8 pixels, its mean taken off, at length one; P fixed noise.

    Alike images get alike mixtures, as from a router, but none of it is learnt: what MoLA-Router gains over this row is
    what its routing has learnt, not that it mixes.
    experts: None: one per task. freeze: as in ``mola_router``.
    """

    search_space: ClassVar[SearchSpace] = {"rank": Range(1, 16, log=True), "alpha": Range(1.0, 64.0, log=True)}
    noise: Tensor  # (E, 192)

    def __init__(
        self,
        tasks: Sequence[Task],
        backbone: Callable[[], nn.Module],
        *,
        experts: PositiveInt | None = None,
        sharpness: PositiveFloat = 2.0,
        rank: Rank = 4,
        alpha: PositiveFloat = 16.0,
        where: str = r".*(layer|stages|blocks).*",
        factorisation: Factorisation = "loralib",
        freeze: bool = False,
    ) -> None:
        super().__init__(tasks, backbone)
        experts = experts or len(tasks)
        self.backbone = adapt(
            backbone(), experts=experts, rank=rank, alpha=alpha, where=where, factorisation=factorisation
        )
        self.frozen = freeze_base(self.backbone) if freeze else ()
        self.heads = Heads(tasks, self.backbone)
        self.sharpness = sharpness
        self.register_buffer("noise", torch.randn(experts, GATE_INPUTS))

    def forward(self, batch: Batch) -> Output:
        """One mixture per sample, for the whole network."""
        seen = gate_input(batch.x).float()
        seen = nn.functional.normalize(seen - seen.mean(1, keepdim=True), dim=1)  # (B, 192)
        weights = (self.sharpness * seen @ self.noise.T).softmax(1)  # (B, E)
        with gate(self.backbone, weights):
            features = self.backbone(batch.x)  # (B, F)
        return Output(self.heads(features, batch), weights, features=features)

    def shared_parameters(self) -> list[Parameter]:
        """Backbone and adapters."""
        return trainable(self.backbone)
