"""MoLA-Grad: the task's id picks the adapter, so that conflicting gradients reach different adapters.

Source: arXiv 2406.09679, Section 3, target-aware MoLA.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import Parameter

from mola.methods._adapted import TaskGatedMethod


class MoLAGrad(TaskGatedMethod):
    """y = (W + ΔW_t) x with E = T. Needs the task's id at inference.

    Differs from the released code: one forward pass per step, where that repeats an identical pass T times (T
                                    BatchNorm updates); with single inputs BatchNorm sees all tasks' maps together, as
                                    in a batch that mixes tasks.
    """

    def task_gates(self) -> Tensor:
        """(T,): the adapter that has the task's number."""
        return torch.arange(len(self.task_names))

    def shared_parameters(self) -> list[Parameter]:
        """The backbone without its adapters: those belong to one task each."""
        adapters = set(self.adapter_parameters())
        return [p for p in super().shared_parameters() if p not in adapters]
