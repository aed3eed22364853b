"""One learnt number per task, for balancers that weigh losses by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import Parameter

from mola.balancers._weighting import LossWeighting
from mola.types import Task


class Learnt(LossWeighting):
    """s_t, a parameter () per task name, stepped by the run's optimiser with the method's; an absent task's stays."""

    def __init__(self, tasks: Sequence[Task], device: torch.device | None, options: LossWeighting.Options) -> None:
        super().__init__(tasks, device, options)
        self.s = {name: Parameter(torch.zeros((), device=device)) for name in self.names}

    def parameters(self) -> list[Parameter]:
        """s, in the order of the tasks."""
        return list(self.s.values())

    def state_dict(self) -> dict[str, object]:
        """s by task name."""
        return {"s": {name: value.detach().clone() for name, value in self.s.items()}}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """In place: the optimiser holds the parameters."""
        with torch.no_grad():
            for name, value in cast("dict[str, Tensor]", state["s"]).items():
                self.s[name].copy_(value)
