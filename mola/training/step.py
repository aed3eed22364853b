"""The training step: the only sequence of forward pass, losses, balancer and optimiser. The loop, tuning and the
benchmarks of speed all call it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mola.losses import task_losses
from mola.methods import Method
from mola.types import Balancer, Batch, Output, Task


class TrainingStep:
    """One step of a method under a balancer.

    share: weigh each task's loss by its share of the batch's samples (see :func:`mola.losses.task_losses`).
    amp:   bf16 autocast of the forward pass.
    """

    def __init__(
        self,
        method: Method,
        balancer: Balancer,
        optimizer: torch.optim.Optimizer,
        tasks: Sequence[Task],
        *,
        share: bool = False,
        amp: bool = False,
    ) -> None:
        self.method, self.balancer, self.optimizer = method, balancer, optimizer
        self.tasks, self.share, self.amp = tasks, share, amp
        self.shared, self.rest = method.shared_parameters(), method.own_parameters()

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Step once; returns the detached losses () of the tasks present, and ``aux_loss`` where there is one. A batch
        without any known target makes no step.
        """
        output, losses = self.balancer.forward(lambda: self._forward(batch), self.method, self.shared, batch)
        if not losses:
            return {}
        self.optimizer.zero_grad(set_to_none=True)
        self.balancer.backward(losses, output.aux_loss, self.shared, self.rest, output.features)
        self.optimizer.step()
        if output.aux_loss is not None:
            losses = {**losses, "aux_loss": output.aux_loss}
        return {name: loss.detach() for name, loss in losses.items()}

    def _forward(self, batch: Batch) -> tuple[Output, Mapping[str, Tensor]]:
        with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=self.amp):
            output = self.method(batch)
        return output, task_losses(self.tasks, output, batch, self.share)
