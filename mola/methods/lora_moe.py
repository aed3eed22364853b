"""Sparse mixture of LoRA: a router picks the top k adapters of each sample.

Source: top-k gating of Shazeer et al. 2017, arXiv 1701.06538 (without noise), over low-rank experts, trained jointly
with the backbone as in MoLA.
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
from mola.types import BadInput, Batch, Factorisation, Output, Range, Rank, SearchSpace, Task


class LoRAMoE(Method):
    """γ = softmax over the k highest router scores, 0 elsewhere; same router network and adapters as MoLA-Router, no
    TwD loss.

    experts: None: one per task. freeze, router_width, router_blocks, router_pool: as in ``mola_router``.
    load_balance: weight of :func:`mola.methods._lora.load_balance`; 0 leaves it out.
    Differs from the paper: its two losses, of importance and load, are that one here, off by default.
    """

    search_space: ClassVar[SearchSpace] = {
        "rank": Range(1, 16, log=True),
        "alpha": Range(1.0, 64.0, log=True),
        "top_k": Range(1, 4),
    }

    def __init__(
        self,
        tasks: Sequence[Task],
        backbone: Callable[[], nn.Module],
        *,
        experts: PositiveInt | None = None,
        top_k: PositiveInt = 2,
        load_balance: NonNegativeFloat = 0.0,
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
        if top_k > experts:
            raise BadInput(f"top_k: expected at most the number of experts, {experts}, found {top_k}")
        self.backbone = adapt(
            backbone(), experts=experts, rank=rank, alpha=alpha, where=where, factorisation=factorisation
        )
        self.frozen = freeze_base(self.backbone) if freeze else ()
        self.heads = Heads(tasks, self.backbone)
        self.router = Router(experts, width=router_width, blocks=router_blocks, pool=router_pool)
        self.top_k, self.load_balance = top_k, load_balance

    def forward(self, batch: Batch) -> Output:
        """Routes once, for the whole network. Experts that no sample chose cost nothing."""
        scores = self.router(batch.x).float()  # (B, E)
        top = scores.topk(self.top_k, dim=1)
        weights = top.values.softmax(1)  # (B, k)
        with gate(self.backbone, (weights, top.indices)):
            features = self.backbone(batch.x)  # (B, F)
        aux_loss = None
        if self.training and self.load_balance:
            aux_loss = self.load_balance * load_balance(scores.softmax(1), top.indices)
        routing = scores.new_zeros(scores.shape).scatter(1, top.indices, weights)
        return Output(self.heads(features, batch), routing, aux_loss, features)

    def shared_parameters(self) -> list[Parameter]:
        """Backbone, adapters and router."""
        return trainable(self.backbone, self.router)
