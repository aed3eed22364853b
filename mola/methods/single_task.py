"""Single-task learning: a backbone and a head of its own for every task; nothing is shared.

Source: the reference row of Δ (Maninis et al. 2019, arXiv 1904.08918); "STL" in the paper's tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import Parameter

from mola.methods import Method
from mola.methods.shared import Shared
from mola.types import Batch, Output, Task


class SingleTask(Method):
    """T times hard sharing of one task: models that meet only in the batch.

    All start from the same backbone weights, as T separate runs with one seed would.
    """

    class Options(Method.Options):
        only_shared_norm: ClassVar[str] = "every task has a network of its own"

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Options) -> None:
        super().__init__(tasks, backbone, options)
        towers = {task.name: Shared.create([task], backbone) for task in tasks}
        first = towers[tasks[0].name]
        for tower in towers.values():
            tower.backbone.load_state_dict(first.backbone.state_dict())
        self.towers = nn.ModuleDict(towers)

    def forward(self, batch: Batch) -> Output:
        """Each task's samples through the task's own model."""
        predictions: dict[str, Tensor] = {}
        for name in batch.y:
            predictions |= self.towers[name](batch.only(name)).predictions
        return Output(predictions)

    def shared_parameters(self) -> list[Parameter]:
        """None."""
        return []

    def parts(self) -> Mapping[str, tuple[nn.Module, tuple[str, ...]]]:
        """Every task's model picks its own epoch."""
        return {name: (tower, (name,)) for name, tower in self.towers.items()}
