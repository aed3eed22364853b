"""MMoE: several full expert backbones, mixed by a gate per task.

Source: Ma et al. 2018, Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts (KDD).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import Parameter

from mola.methods import Method
from mola.methods._experts import GATE_INPUTS, gate_input, mixture
from mola.models.heads import Heads
from mola.types import Batch, Output, Range, SearchSpace, Task


class MMoE(Method):
    """f_t = Σ_e γ_te(x) backbone_e(x), γ_t = softmax(gate_t(x)), y_t = head_t(f_t).

    The gates are linear in the input, as published, here pooled to 8×8 pixels so that their size does not grow with
    the image's.
    """

    class Options(Method.Options):
        experts: PositiveInt | None = Field(None, description="E, the number of experts; null: one per task")

    looks_at_images = True
    search_space: ClassVar[SearchSpace] = {"experts": Range(2, 8)}

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Options) -> None:
        super().__init__(tasks, backbone, options)
        self.experts = nn.ModuleList(backbone() for _ in range(options.experts or len(tasks)))
        self.heads = Heads(tasks, self.experts[0])
        self.gates = nn.ModuleDict({task.name: nn.Linear(GATE_INPUTS, len(self.experts)) for task in tasks})

    def forward(self, batch: Batch) -> Output:
        """All experts on all samples, mixed by the gate of each sample's task."""
        features = torch.stack([expert(batch.x).float() for expert in self.experts], dim=1)  # (B, E, F), or maps
        pixels = gate_input(batch.images)
        predictions: dict[str, Tensor] = {}
        for name in batch.y:
            rows = batch.rows(name)
            weights = self.gates[name](pixels[rows]).float().softmax(1)  # (B_t, E)
            predictions |= self.heads(mixture(weights, features[rows]), batch.only(name))
        return Output(predictions, features=features)

    def shared_parameters(self) -> list[Parameter]:
        """The experts."""
        return list(self.experts.parameters())
