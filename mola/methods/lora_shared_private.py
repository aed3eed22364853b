"""Shared and private adapters: one for all tasks, and another of each task's own.

Source: the split of C-Poly, Wang et al. 2024 (arXiv 2312.03248), and MTL-LoRA, Yang et al. 2025 (arXiv 2410.09437), in
its plainest form, trained jointly with the backbone as in MoLA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mola.methods._adapted import AdaptedMethod, TaskGatedMethod
from mola.types import Task


class LoRASharedPrivate(TaskGatedMethod):
    """y = (W + ΔW_0 + ΔW_t) x. Needs the task's id at inference.

    Balancers treat all adapters as shared: those of tasks are the later rows of tensors that begin with the shared one.
    Differs from C-Poly: one shared adapter without weights of its own per task, where it mixes several.
    Differs from MTL-LoRA: a whole adapter per task, where it puts a matrix of the task between a shared pair.
    """

    weights: Tensor  # (T, 1 + T): the shared adapter, then those of the tasks

    def __init__(
        self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: AdaptedMethod.Options
    ) -> None:
        super().__init__(tasks, backbone, options)
        ones = torch.ones(len(tasks), 1)
        self.register_buffer("weights", torch.cat([ones, torch.eye(len(tasks))], 1), persistent=False)

    def experts_for(self, tasks: Sequence[Task], options: AdaptedMethod.Options) -> int:
        """One for all, and one per task."""
        return 1 + len(tasks)

    def task_gates(self) -> Tensor:
        """(T, 1 + T), fixed: nothing is routed."""
        return self.weights
