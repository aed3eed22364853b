"""The training step: the only sequence of forward pass, losses, balancer and optimiser. The loop, tuning and the
benchmarks of speed all call it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mola.losses import task_losses
from mola.methods import Method
from mola.training.split_batch import parts_of, weighted, weights
from mola.types import Balancer, Batch, Output, Task


class TrainingStep:
    """One step of a method under a balancer.

    share: weigh each task's loss by its share of the batch's samples (see :func:`mola.losses.task_losses`).
    amp:   bf16 autocast of the forward pass.
    parts: that a batch is computed in, one after the other, see :mod:`mola.training.split_batch`; needs a balancer that
           is ``additive``.
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
        self.tasks, self.share, self.amp, self.parts = tasks, share, amp, 1
        self.shared, self.rest = method.shared_parameters(), method.own_parameters()

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Step once; returns the detached losses () of the tasks present, and ``aux_loss`` where there is one. A batch
        without any known target makes no step.
        """
        if self.parts > 1:
            return self._in_parts(batch)
        output, losses = self.balancer.forward(lambda: self._forward(batch), self.method, self.shared, batch)
        if not losses:
            return {}
        self.optimizer.zero_grad(set_to_none=True)
        self.balancer.backward(losses, output.aux_loss, self.shared, self.rest, output.features)
        self.optimizer.step()
        if output.aux_loss is not None:
            losses = {**losses, "aux_loss": output.aux_loss}
        return {name: loss.detach() for name, loss in losses.items()}

    def _in_parts(self, batch: Batch) -> dict[str, Tensor]:
        """The same with gradients that add up over the parts of the batch."""
        sums: dict[str, Tensor] = {}
        self.optimizer.zero_grad(set_to_none=True)
        for part in parts_of(batch, self.parts):
            with torch.autocast(part.x.device.type, torch.bfloat16, enabled=self.amp):
                output = self.method(part)
            losses = weighted(task_losses(self.tasks, output, part), weights(self.tasks, batch, part, share=self.share))
            if not losses:
                continue
            aux_loss = None if output.aux_loss is None else output.aux_loss * (len(part.x) / len(batch.x))
            self.balancer.backward(losses, aux_loss, self.shared, self.rest, output.features)
            for name, loss in [*losses.items(), *([] if aux_loss is None else [("aux_loss", aux_loss)])]:
                sums[name] = loss.detach() + sums.get(name, 0.0)
        if sums:
            self.optimizer.step()
        # in the order of a whole batch
        return {name: sums[name] for name in [*(task.name for task in self.tasks), "aux_loss"] if name in sums}

    def _forward(self, batch: Batch) -> tuple[Output, Mapping[str, Tensor]]:
        with torch.autocast(batch.x.device.type, torch.bfloat16, enabled=self.amp):
            output = self.method(batch)
        return output, task_losses(self.tasks, output, batch, self.share)
