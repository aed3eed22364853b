"""CGC: expert backbones of each task next to shared ones, mixed by a gate per task.

Source: Tang et al. 2020, Progressive Layered Extraction: A Novel Multi-Task Learning Model for Personalized
Recommendations (RecSys), Section 4.1, customized gate control.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import Parameter

from mola.layers.norms import keep_task
from mola.methods import Method
from mola.methods._experts import GATE_INPUTS, gate_input, mixture
from mola.models.heads import Heads
from mola.types import Batch, Output, Range, SearchSpace, Task


class CGC(Method):
    """f_t = Σ_e γ_te(x) backbone_e(x) over the shared experts and those of task t, γ_t = softmax(gate_t(x)),
    y_t = head_t(f_t).

    A task's own experts see its samples alone.
    Differs from the paper: experts are whole backbones, where it has small perceptrons; the gates see the input pooled
    to 8×8 pixels, as in ``mmoe``.
    """

    class Options(Method.Options):
        shared_experts: PositiveInt = Field(1, description="experts of all tasks")
        own_experts: PositiveInt = Field(1, description="experts of every single task")

    looks_at_images = True
    search_space: ClassVar[SearchSpace] = {"shared_experts": Range(1, 4), "own_experts": Range(1, 2)}

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Options) -> None:
        super().__init__(tasks, backbone, options)
        shared_experts, own_experts = options.shared_experts, options.own_experts
        self.shared = nn.ModuleList(backbone() for _ in range(shared_experts))
        self.task_experts = nn.ModuleDict(
            {task.name: nn.ModuleList(backbone() for _ in range(own_experts)) for task in tasks}
        )
        for name, experts in self.task_experts.items():
            keep_task(experts, name)
        self.heads = Heads(tasks, self.shared[0])
        mixed = shared_experts + own_experts
        self.gates = nn.ModuleDict({task.name: nn.Linear(GATE_INPUTS, mixed) for task in tasks})

    def forward(self, batch: Batch) -> Output:
        """The shared experts on all samples, a task's own on its samples."""
        shared = torch.stack([expert(batch.x).float() for expert in self.shared], dim=1)  # (B, S, F), or maps
        pixels = gate_input(batch.images)
        predictions: dict[str, Tensor] = {}
        for name in batch.y:
            rows, of_task = batch.rows(name), batch.only(name)
            with self.on_rows(rows):
                experts = self.task_experts[name].children()
                private = torch.stack([expert(of_task.x).float() for expert in experts], dim=1)
            weights = self.gates[name](pixels[rows]).float().softmax(1)  # (B_t, shared and own experts)
            predictions |= self.heads(mixture(weights, torch.cat([shared[rows], private], dim=1)), of_task)
        return Output(predictions, features=shared)

    def shared_parameters(self) -> list[Parameter]:
        """The shared experts."""
        return list(self.shared.parameters())
