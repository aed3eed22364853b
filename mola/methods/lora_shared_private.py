"""Shared and private adapters: one for all tasks, and one of each task's own beside it.

Source: the split of C-Poly, Wang et al. 2024 (arXiv 2312.03248), and MTL-LoRA, Yang et al. 2025 (arXiv 2410.09437), in
its plainest form, trained jointly with the backbone as in MoLA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.nn import Parameter

from mola.layers.adapt import adapt
from mola.methods import Method
from mola.methods._lora import freeze_base, mixture_per_task, trainable
from mola.models.heads import Heads
from mola.types import Batch, Factorisation, Output, Range, Rank, SearchSpace, Task


class LoRASharedPrivate(Method):
    """y = (W + ΔW_0 + ΔW_t) x. Needs the task's id at inference.

    freeze: as in ``mola_grad``.
    Differs from C-Poly: one shared adapter without weights of its own per task, where it mixes several.
    Differs from MTL-LoRA: a whole adapter per task, where it puts a matrix of the task between a shared pair.
    """

    search_space: ClassVar[SearchSpace] = {"rank": Range(1, 16, log=True), "alpha": Range(1.0, 64.0, log=True)}
    weights: Tensor  # (T, 1 + T): the shared adapter, then those of the tasks

    def __init__(
        self,
        tasks: Sequence[Task],
        backbone: Callable[[], nn.Module],
        *,
        rank: Rank = 4,
        alpha: PositiveFloat = 16.0,
        where: str = r".*(layer|stages|blocks).*",
        factorisation: Factorisation = "loralib",
        freeze: bool = False,
    ) -> None:
        super().__init__(tasks, backbone)
        self.backbone = adapt(
            backbone(), experts=1 + len(tasks), rank=rank, alpha=alpha, where=where, factorisation=factorisation
        )
        self.frozen = freeze_base(self.backbone) if freeze else ()
        self.heads = Heads(tasks, self.backbone)
        ones = torch.ones(len(tasks), 1)
        self.register_buffer("weights", torch.cat([ones, torch.eye(len(tasks))], 1), persistent=False)

    def forward(self, batch: Batch) -> Output:
        """Each sample through both adapters of its task."""
        found = mixture_per_task(self.backbone, self.heads, batch, self.weights)
        return Output(found.predictions, features=found.features)  # the weights are fixed: nothing is routed

    def shared_parameters(self) -> list[Parameter]:
        """The backbone with all adapters: the tasks' own are the later rows of tensors that begin with the shared."""
        return trainable(self.backbone)
