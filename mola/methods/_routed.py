"""Low-rank methods whose gate is a router's: a small network that looks at the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from mola.layers.router import Router
from mola.methods._adapted import MixedMethod
from mola.types import Task


class RoutedMethod(MixedMethod):
    """A low-rank method that mixes adapters as a small network, the router, says of the image."""

    class Options(MixedMethod.Options):
        router_width: PositiveInt = Field(16, description="channels of the router's first stage; 16 is a ResNet-20")
        router_blocks: PositiveInt = Field(3, description="residual blocks of each of the router's three stages")
        router_pool: PositiveInt = Field(1, description="factor by which images are average-pooled for the router")

    looks_at_images = True

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Options) -> None:
        super().__init__(tasks, backbone, options)
        self.router = Router(
            self.experts_for(tasks, options),
            width=options.router_width,
            blocks=options.router_blocks,
            pool=options.router_pool,
        )


def load_balance(probabilities: Tensor, chosen: Tensor) -> Tensor:
    """E · Σ_e f_e P_e, f_e the share of choices that fell on expert e, P_e its mean probability; 1 where both are even.

    probabilities: (B, E), of the router. chosen: (B, k) int64. Returns ().
    Source: Switch Transformers, Fedus et al. 2022 (arXiv 2101.03961), equation 4, with the k choices counted alike.
    """
    experts = probabilities.shape[1]
    share = torch.bincount(chosen.flatten(), minlength=experts).to(probabilities) / chosen.numel()
    return experts * (share * probabilities.mean(0)).sum()
