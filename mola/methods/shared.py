"""Hard parameter sharing: one backbone for all tasks, a head per task.

Source: Caruana 1997, Multitask Learning; "HPS" in the paper's tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn
from torch.nn import Parameter

from mola.methods import Method
from mola.models.heads import Heads
from mola.types import Batch, Output, Task


class Shared(Method):
    """y_t = head_t(backbone(x))."""

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Method.Options) -> None:
        super().__init__(tasks, backbone, options)
        self.backbone = backbone()
        self.heads = Heads(tasks, self.backbone)

    def forward(self, batch: Batch) -> Output:
        """Every task through the same backbone."""
        features = self.backbone(batch.x)  # (B, F)
        return Output(self.heads(features, batch), features=features)

    def shared_parameters(self) -> list[Parameter]:
        """The backbone."""
        return list(self.backbone.parameters())
