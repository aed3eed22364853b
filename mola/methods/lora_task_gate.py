"""Task gate: a mixture of the adapters per task, learnt, the same for all its samples. A control for routers.

Source: a control of this project, after the task-conditioned gates of DSelect-k (arXiv 2106.03760); "oracle", as it is
given the task that MoLA-Router has to find out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import Parameter

from mola.methods._adapted import Gates, MixedMethod, TaskGatedMethod
from mola.types import Batch, Task


class LoRATaskGate(MixedMethod, TaskGatedMethod):
    """γ_t = softmax(s_t), s learnt; y = (W + Σ_e γ_te ΔW_e) x. Needs the task's id at inference.

    Between the two variants of MoLA: with one-hot γ_t it is MoLA-Grad; what MoLA-Router gains over it comes from
    differences between samples of one task.
    """

    class Options(MixedMethod.Options):
        start: float = Field(2.0, description="s_tt at the start; all others are 0")

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Options) -> None:
        super().__init__(tasks, backbone, options)
        self.scores = nn.Parameter(torch.zeros(len(tasks), self.experts_for(tasks, options)))
        with torch.no_grad():
            self.scores.fill_diagonal_(options.start)

    def task_gates(self) -> Tensor:
        """(T, E) weights."""
        return self.scores.softmax(1)

    def gates(self, batch: Batch) -> Gates:
        """Each sample's is that of its task, and reported, as it is learnt."""
        gates = super().gates(batch)
        assert isinstance(gates.gate, Tensor)
        return replace(gates, routing=gates.gate)

    def shared_parameters(self) -> list[Parameter]:
        """Backbone and adapters; each row of scores belongs to a task."""
        return [p for p in super().shared_parameters() if p is not self.scores]
