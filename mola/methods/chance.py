"""Chance: predicts without looking at the image, the floor of every table.

Source: a control of this project (as a dummy classifier); it is no method to be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pydantic import Field, PositiveFloat
from torch import nn
from torch.nn import Parameter

from mola.methods import Method, faster
from mola.metrics.kinds import KINDS
from mola.types import Batch, Output, Task


class Chance(Method):
    """y_t = rate · b_t, a learnt constant for every output: under cross-entropy the log-frequencies of the classes, the
    log-odds of labels, for depth the median, for regression near it.

    Metres and log-frequencies are far from 0: at the learning rate of weights a short run would end on the way, so the
    constants learn faster. No backbone is built.
    """

    class Options(Method.Options):
        rate: PositiveFloat = Field(10.0, description="how much faster than a weight a constant learns")
        only_shared_norm: ClassVar[str] = "no backbone is built"

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Options) -> None:
        super().__init__(tasks, backbone, options)
        self.constants = nn.ParameterDict({task.name: torch.zeros(task.outputs) for task in tasks})
        self.dense = {task.name for task in tasks if KINDS[task.kind].dense}
        self.rate = options.rate

    def forward(self, batch: Batch) -> Output:
        """The same for every image, and for every pixel of dense tasks."""
        predictions = {}
        for name, target in batch.y.items():
            constant = faster(self.constants[name], self.rate)  # (K,)
            size = batch.x.shape[-2:] if name in self.dense else ()
            shape = (1, len(constant), *[1] * len(size))
            predictions[name] = constant.view(shape).expand(len(target), -1, *size)
        return Output(predictions)

    def shared_parameters(self) -> list[Parameter]:
        """None."""
        return []
