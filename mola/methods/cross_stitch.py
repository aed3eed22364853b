"""Cross-stitch: a backbone per task, joined behind every stage by learnt linear combinations of their features.

Source: Misra et al. 2016, Cross-stitch Networks for Multi-task Learning (CVPR, arXiv 1604.03539).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import Parameter

from mola.layers.norms import keep_task
from mola.methods import Method
from mola.methods._stages import channel_axis, modules_after, parameters_after
from mola.models.heads import Heads
from mola.models.stages import run_stage, stages, start_pass
from mola.types import Batch, Output, Range, SearchSpace, Task


class CrossStitch(Method):
    """x̃_t = Σ_u α_tu ⊙ x_u behind each stage, one T×T unit α per channel; y_t = head_t(rest_t(x̃_t)).

    Units are per channel, as published: a number per stage could not share some features and keep others apart, and the
    towers cost so much more that the difference can't be seen.

    Every tower sees every sample, also those of other tasks, as each task reads all towers. So all of them learn from
    all tasks' losses; only what is behind the last unit belongs to one task.
    Differs from the paper: units behind stages, where it has them behind pooling and fully connected layers; towers
    start from equal weights, where it first trains each alone on its task; units learn at the rate of all weights,
    where it takes 100 to 1000 times the rate.
    """

    class Options(Method.Options):
        own_weight: float = Field(
            0.9, gt=0, le=1, description="α_tt at the start; those of other towers start at (1 − own_weight) / (T − 1)"
        )

    search_space: ClassVar[SearchSpace] = {"own_weight": Range(0.5, 1.0)}

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Options) -> None:
        super().__init__(tasks, backbone, options)
        self.towers = nn.ModuleList(backbone() for _ in tasks)
        for tower in self.towers[1:]:
            tower.load_state_dict(self.towers[0].state_dict())
        self.heads = Heads(tasks, self.towers[0])
        self.cuts = stages(self.towers[0])
        for task, tower in zip(tasks, self.towers, strict=True):
            for module in modules_after(tower, self.cuts[-1]):
                keep_task(module, task.name)
        others = len(tasks) - 1
        start = torch.full((len(tasks), len(tasks)), (1 - options.own_weight) / max(1, others))
        start.fill_diagonal_(options.own_weight if others else 1.0)
        self.units = nn.ParameterList(start[:, :, None].repeat(1, 1, stage.channels) for stage in self.cuts)

    def forward(self, batch: Batch) -> Output:
        """All towers on all samples up to the last unit; from there a task's samples in its own tower."""
        passes = [start_pass(batch.x)] * len(self.towers)
        for stage, unit in enumerate(self.units):
            passes = [run_stage(tower, paused, self.cuts) for tower, paused in zip(self.towers, passes, strict=True)]
            values = torch.stack([paused.value.float() for paused in passes], dim=1)  # (B, T, …)
            if stage < len(self.units) - 1:
                passes = [paused.with_value(self._stitched(a, values)) for a, paused in zip(unit, passes, strict=True)]
        predictions: dict[str, Tensor] = {}
        for task, name in enumerate(self.task_names):
            if name in batch.y:
                rows = batch.rows(name)
                last = passes[task].with_value(self._stitched(unit[task], values[rows]))
                with self.on_rows(rows):
                    features = run_stage(self.towers[task], last, self.cuts).value
                predictions |= self.heads(features, batch.only(name))
        return Output(predictions, features=values)

    def shared_parameters(self) -> list[Parameter]:
        """Units and towers, except for what the towers have behind the last unit."""
        late = {p for tower in self.towers for p in parameters_after(tower, self.cuts[-1])}
        return [*self.units, *(p for p in self.towers.parameters() if p not in late)]

    def _stitched(self, weights: Tensor, values: Tensor) -> Tensor:
        """(T, C) of one task, (B, T, …) of all towers → (B, …)."""
        shape = [1] * values.dim()
        shape[1], shape[2 if channel_axis(self.towers[0], values[:, 0]) == 1 else -1] = weights.shape
        return (weights.view(shape) * values).sum(1)
