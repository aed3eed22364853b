"""Numbers per task that a balancer steps by an optimiser of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor
from torch.nn import Parameter

Gradients = Mapping[str, Tensor]


class Stepped:
    """A value () per name under Adam. A name without a gradient keeps its value and its moments."""

    def __init__(
        self, names: Sequence[str], start: float, device: torch.device | None, lr: float, weight_decay: float = 0.0
    ) -> None:
        self.values = {name: Parameter(torch.full((), start, device=device)) for name in names}
        self.adam = torch.optim.Adam(list(self.values.values()), lr, weight_decay=weight_decay) if names else None

    def of(self, names: Sequence[str]) -> Tensor:
        """(T,) without a graph."""
        return torch.stack([self.values[name].detach() for name in names])

    def step(self, gradients: Gradients) -> None:
        """One step of the names given."""
        assert self.adam is not None
        for name, gradient in gradients.items():
            self.values[name].grad = gradient.to(self.values[name])
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, object]:
        """Values and moments."""
        assert self.adam is not None
        return {"values": {n: v.detach().clone() for n, v in self.values.items()}, "adam": self.adam.state_dict()}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore what :meth:`state_dict` gave."""
        assert self.adam is not None
        with torch.no_grad():
            for name, value in cast("dict[str, Tensor]", state["values"]).items():
                self.values[name].copy_(value)
        self.adam.load_state_dict(cast("dict[str, object]", state["adam"]))
