"""Task gate: a mixture of the adapters per task, learnt, the same for all its samples. A control for routers.

Source: a control of this project, after the task-conditioned gates of DSelect-k (arXiv 2106.03760); "oracle", as it is
told the task that MoLA-Router has to find out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import nn
from torch.nn import Parameter

from mola.layers.adapt import adapt
from mola.methods import Method
from mola.methods._lora import freeze_base, mixture_per_task, trainable
from mola.models.heads import Heads
from mola.types import Batch, Factorisation, Output, Range, Rank, SearchSpace, Task


class LoRATaskGate(Method):
    """γ_t = softmax(s_t), s learnt; y = (W + Σ_e γ_te ΔW_e) x. Needs the task's id at inference.

    Between the two variants of MoLA: with one-hot γ_t it is MoLA-Grad; what MoLA-Router gains over it comes from
    differences between samples of one task.
    experts: None: one per task. start: s_tt at the start, all others are 0. freeze: as in ``mola_grad``.
    """

    search_space: ClassVar[SearchSpace] = {"rank": Range(1, 16, log=True), "alpha": Range(1.0, 64.0, log=True)}

    def __init__(
        self,
        tasks: Sequence[Task],
        backbone: Callable[[], nn.Module],
        *,
        experts: PositiveInt | None = None,
        start: float = 2.0,
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
        self.scores = nn.Parameter(torch.zeros(len(tasks), experts))
        with torch.no_grad():
            self.scores.fill_diagonal_(start)

    def forward(self, batch: Batch) -> Output:
        """Each sample through the mixture of its task."""
        return mixture_per_task(self.backbone, self.heads, batch, self.scores.softmax(1))

    def shared_parameters(self) -> list[Parameter]:
        """Backbone and adapters; each row of scores belongs to a task."""
        return trainable(self.backbone)
