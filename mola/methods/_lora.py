"""What methods with adapters share: freezing what they adapt, a mixture per task, and a balanced load."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from mola.layers.adapter import LowRank
from mola.layers.expand import every_expert
from mola.layers.gates import gate
from mola.models.heads import Heads
from mola.types import Batch, Output


def adapters(backbone: nn.Module) -> list[Parameter]:
    """A and B of every adapted layer."""
    return [p for layer in backbone.modules() if isinstance(layer, LowRank) for p in layer_adapters(layer)]


def layer_adapters(layer: LowRank) -> list[Parameter]:
    """What A and B of a layer are made of, themselves or what they are parametrised by."""
    weights = {layer.weight, layer.bias}
    return [p for p in layer.parameters() if p not in weights]


def freeze_base(backbone: nn.Module) -> tuple[nn.Module, ...]:
    """Leave only the adapters trainable. Gives what is to rest in evaluation mode too: all of the backbone, so that its
    BatchNorm statistics and dropout stay as its weights do.
    """
    free = set(adapters(backbone))
    for parameter in backbone.parameters():
        parameter.requires_grad_(parameter in free)
    return (backbone,)


def trainable(*parts: nn.Module) -> list[Parameter]:
    """The parameters of several modules that learn."""
    return [p for part in parts for p in part.parameters() if p.requires_grad]


def mixture_per_task(backbone: nn.Module, heads: Heads, batch: Batch, weights: Tensor) -> Output:
    """Each task's samples under the task's own mixture of adapters, weights (T, E).

    Where every sample has every task it meets all mixtures; what lies before the first adapted layer is shared.
    """
    if batch.task is not None:
        own = weights[batch.task.to(weights.device)]  # (B, E)
        with gate(backbone, own):
            features = backbone(batch.x)  # (B, F)
        return Output(heads(features, batch), own, features=features)
    present = [number for number, name in enumerate(batch.tasks) if name in batch.y]
    with every_expert(backbone, len(batch.x), weights[present]):
        features = backbone(batch.x)  # (T·B, F), task by task
    predictions: dict[str, Tensor] = {}
    for number, own in zip(present, features.chunk(len(present)), strict=True):
        name = batch.tasks[number]
        predictions |= heads(own, Batch(batch.x, None, {name: batch.y[name]}, (name,)))
    return Output(predictions, features=features)


def load_balance(probabilities: Tensor, chosen: Tensor) -> Tensor:
    """E · Σ_e f_e P_e, f_e the share of choices that fell on expert e, P_e its mean probability; 1 where both are even.

    probabilities: (B, E), of the router. chosen: (B, k) int64. Returns ().
    Source: Switch Transformers, Fedus et al. 2022 (arXiv 2101.03961), equation 4, k choices counted alike.
    """
    experts = probabilities.shape[1]
    share = torch.bincount(chosen.flatten(), minlength=experts).to(probabilities) / chosen.numel()
    return experts * (share * probabilities.mean(0)).sum()
