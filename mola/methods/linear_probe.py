"""Linear probe: heads on a frozen backbone, what its features are worth as they are.

Source: Alain and Bengio 2016, Understanding Intermediate Layers Using Linear Classifier Probes (arXiv 1610.01644); a
control of this project.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from torch import nn
from torch.nn import Parameter

from mola.methods import Method
from mola.models.heads import Heads
from mola.types import Batch, Output, Task


class LinearProbe(Method):
    """y_t = head_t(backbone(x)), where the backbone stays as it was built: pretrained, or random where the suite's
    backbones are.

    BatchNorm's statistics and dropout are frozen with the weights: the backbone is in evaluation mode always. Dense
    tasks keep their pyramid head, which is not linear.
    """

    class Options(Method.Options):
        only_shared_norm: ClassVar[str] = "the backbone does not learn"

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Options) -> None:
        super().__init__(tasks, backbone, options)
        self.backbone = backbone().requires_grad_(False).eval()
        self.frozen = (self.backbone,)
        self.heads = Heads(tasks, self.backbone)

    def forward(self, batch: Batch) -> Output:
        """Every task on the same features."""
        return Output(self.heads(self.backbone(batch.x), batch))

    def shared_parameters(self) -> list[Parameter]:
        """None: what the tasks share does not learn."""
        return []
