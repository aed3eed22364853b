"""HydraLoRA: one A for all, many B, mixed by a router per sample.

Source: HydraLoRA, Tian et al. 2024 (NeurIPS, arXiv 2404.19245), trained jointly with the backbone as in MoLA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn.utils import parametrize

from mola.layers.adapter import LowRank
from mola.methods._adapted import Gates
from mola.methods._routed import RoutedMethod
from mola.types import Batch, Output, Task


class HydraLoRA(RoutedMethod):
    """y_i = (W + Σ_e γ_ie B_e A) x_i, γ = softmax(router(x)).

    Differs from the paper: one router looks at the image for the whole network, as in MoLA-Router, where each layer has
    a linear one; the backbone learns unless ``freeze``; E is the number of tasks, where it clusters the data. A is
    repeated for the layers' plans, so that it takes their time, not A's own.
    """

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: RoutedMethod.Options) -> None:
        super().__init__(tasks, backbone, options)
        for layer in [module for module in self.backbone.modules() if isinstance(module, LowRank)]:
            layer.A = nn.Parameter(layer.A[:1].detach().clone())
            parametrize.register_parametrization(layer, "A", _Repeated(layer.experts), unsafe=True)

    def gates(self, batch: Batch) -> Gates:
        """All heads B, weighed."""
        weights = self.router(batch.images).float().softmax(1)  # (B, E)
        return Gates(weights, weights)

    def forward(self, batch: Batch) -> Output:
        """As that of every low-rank method; A is repeated once."""
        with parametrize.cached():
            return super().forward(batch)


class _Repeated(nn.Module):
    """(1, …) → (E, …)."""

    def __init__(self, experts: int) -> None:
        super().__init__()
        self.experts = experts

    def forward(self, a: Tensor) -> Tensor:
        return a.expand(self.experts, *a.shape[1:]).contiguous()
