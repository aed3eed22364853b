"""HydraLoRA: one A for all, many B, mixed by a router per sample.

Source: HydraLoRA, Tian et al. 2024 (NeurIPS, arXiv 2404.19245), trained jointly with the backbone as in MoLA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.utils import parametrize

from mola.layers.adapt import adapt
from mola.layers.adapter import LowRank
from mola.layers.gates import gate
from mola.layers.router import Router
from mola.methods import Method
from mola.methods._lora import freeze_base, trainable
from mola.models.heads import Heads
from mola.types import Batch, Factorisation, Output, Range, Rank, SearchSpace, Task


class HydraLoRA(Method):
    """y_i = (W + Σ_e γ_ie B_e A) x_i, γ = softmax(router(x)).

    experts: None: one per task. freeze, router_width, router_blocks, router_pool: as in ``mola_router``.
    Differs from the paper: one router looks at the image for the whole network, as in MoLA-Router, where each layer has
    a linear one; the backbone learns unless ``freeze``; E is the number of tasks, where it clusters the data. A is
    repeated for the layers' plans, so that it takes their time, not A's own.
    """

    search_space: ClassVar[SearchSpace] = {"rank": Range(1, 16, log=True), "alpha": Range(1.0, 64.0, log=True)}

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
        router_width: PositiveInt = 16,
        router_blocks: PositiveInt = 3,
        router_pool: PositiveInt = 1,
    ) -> None:
        super().__init__(tasks, backbone)
        experts = experts or len(tasks)
        self.backbone = adapt(
            backbone(), experts=experts, rank=rank, alpha=alpha, where=where, factorisation=factorisation
        )
        for layer in [module for module in self.backbone.modules() if isinstance(module, LowRank)]:
            first = nn.Parameter(layer.A[:1].detach().clone())
            layer.A = first
            parametrize.register_parametrization(layer, "A", _Repeated(experts), unsafe=True)
        self.frozen = freeze_base(self.backbone) if freeze else ()
        self.heads = Heads(tasks, self.backbone)
        self.router = Router(experts, width=router_width, blocks=router_blocks, pool=router_pool)

    def forward(self, batch: Batch) -> Output:
        """Routes once, for the whole network."""
        weights = self.router(batch.x).float().softmax(1)  # (B, E)
        with parametrize.cached(), gate(self.backbone, weights):
            features = self.backbone(batch.x)  # (B, F)
        return Output(self.heads(features, batch), weights, features=features)

    def shared_parameters(self) -> list[Parameter]:
        """Backbone, adapters and router."""
        return trainable(self.backbone, self.router)


class _Repeated(nn.Module):
    """(1, …) → (E, …)."""

    def __init__(self, experts: int) -> None:
        super().__init__()
        self.experts = experts

    def forward(self, a: Tensor) -> Tensor:
        return a.expand(self.experts, *a.shape[1:]).contiguous()
