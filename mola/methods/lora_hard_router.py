"""Hard router: each sample has the one adapter that the router scores highest.

Source: top-1 routing of Switch Transformers, Fedus et al. 2022 (arXiv 2101.03961), over low-rank experts, trained
jointly with the backbone as in MoLA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import nn
from torch.nn import Parameter

from mola.layers.adapt import adapt
from mola.layers.gates import gate
from mola.layers.router import Router
from mola.methods import Method
from mola.methods._lora import freeze_base, load_balance, trainable
from mola.models.heads import Heads
from mola.types import Batch, Factorisation, Output, Range, Rank, SearchSpace, Task


class LoRAHardRouter(Method):
    """y_i = (W + p_ie ΔW_e) x_i with e = argmax p_i, p_i = softmax(router(x_i)).

    The router learns through p_ie, which scales the adapter, as published.
    experts: None: one per task. load_balance: weight of :func:`mola.methods._lora.load_balance`, 0.01 as published.
    freeze, router_width, router_blocks, router_pool: as in ``mola_router``.
    Differs from the paper: one choice per image for the whole network; no noise on the router's input, and no limit on
    an expert's load, so that no image goes without.
    """

    search_space: ClassVar[SearchSpace] = {
        "rank": Range(1, 16, log=True),
        "alpha": Range(1.0, 64.0, log=True),
        "load_balance": Range(0.001, 0.1, log=True),
    }

    def __init__(
        self,
        tasks: Sequence[Task],
        backbone: Callable[[], nn.Module],
        *,
        experts: PositiveInt | None = None,
        load_balance: NonNegativeFloat = 0.01,
        rank: Rank = 4,
        alpha: PositiveFloat = 16.0,
        where: str = r".*(layer|stages|blocks).*",
        factorisation: Factorisation = "loralib",
        freeze: bool = False,
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
        self.load_balance = load_balance

    def forward(self, batch: Batch) -> Output:
        """Routes once, for the whole network. Experts that no sample chose cost nothing."""
        scores = self.router(batch.x).float()  # (B, E)
        probabilities = scores.softmax(1)
        weight, chosen = probabilities.max(1, keepdim=True)  # (B, 1) each
        with gate(self.backbone, (weight, chosen)):
            features = self.backbone(batch.x)  # (B, F)
        aux_loss = None
        if self.training and self.load_balance:
            aux_loss = self.load_balance * load_balance(probabilities, chosen)
        used = scores.new_zeros(scores.shape).scatter(1, chosen, 1.0)
        return Output(self.heads(features, batch), used, aux_loss, features)

    def shared_parameters(self) -> list[Parameter]:
        """Backbone, adapters and router."""
        return trainable(self.backbone, self.router)
