"""MoLA-Grad: the task's id picks the adapter, so that conflicting gradients reach different adapters.

Source: arXiv 2406.09679, Section 3, target-aware MoLA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from pydantic import PositiveFloat
from torch import Tensor, nn
from torch.nn import Parameter

from mola.layers.adapt import adapt
from mola.layers.expand import every_expert
from mola.layers.gates import gate
from mola.methods import Method
from mola.methods._lora import adapters, freeze_base, trainable
from mola.models.heads import Heads
from mola.types import Batch, Factorisation, Output, Range, Rank, SearchSpace, Task


class MoLAGrad(Method):
    """y = (W + ΔW_t) x with E = T. Needs the task's id at inference.

    freeze: train adapters and heads alone, as LoRA does; the backbone's BatchNorm statistics rest too.
    Differs from the released code: one forward pass per step, where that repeats an identical pass T times (T
                                    BatchNorm updates); with single inputs BatchNorm sees all tasks' maps together, as
                                    in a batch that mixes tasks.
    """

    search_space: ClassVar[SearchSpace] = {"rank": Range(1, 16, log=True), "alpha": Range(1.0, 64.0, log=True)}

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
            backbone(), experts=len(tasks), rank=rank, alpha=alpha, where=where, factorisation=factorisation
        )
        self.frozen = freeze_base(self.backbone) if freeze else ()
        self.heads = Heads(tasks, self.backbone)

    def forward(self, batch: Batch) -> Output:
        """One pass. Where each sample has all tasks, it meets every task's adapter; what lies before the first adapted
        layer is shared.
        """
        if batch.task is not None:
            with gate(self.backbone, batch.task):
                features = self.backbone(batch.x)  # (B, F)
            return Output(self.heads(features, batch), features=features)
        present = [expert for expert, name in enumerate(self.task_names) if name in batch.y]
        with every_expert(self.backbone, len(batch.x), present):
            features = self.backbone(batch.x)  # (T·B, F), task by task
        predictions: dict[str, Tensor] = {}
        for expert, own in zip(present, features.chunk(len(present)), strict=True):
            name = self.task_names[expert]
            predictions |= self.heads(own, Batch(batch.x, None, {name: batch.y[name]}, (name,)))
        return Output(predictions, features=features)

    def shared_parameters(self) -> list[Parameter]:
        """The backbone without its adapters: those belong to one task each."""
        own = set(adapters(self.backbone))
        return [p for p in trainable(self.backbone) if p not in own]
