"""Losses whose gradients are given: L_t = value_t + g_t·(x − x_0) + private gradient · private parameter."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from mola.types import Balancer

NAMES = ("a", "b", "c", "d", "e", "f", "g", "h", "i")
CONFLICT = torch.tensor([[1.0, 0.5, -0.2, 0.3], [-0.8, 0.9, 0.1, 0.4], [0.1, -0.7, 1.5, 0.2]]).double()
VALUES = torch.tensor([0.5, 2.0, 1.2]).double()


class Problem:
    """A fresh graph per call of :meth:`losses`; gradients are the rows of ``rows`` (T, P), and 1 + t on private
    parameters.
    """

    def __init__(
        self,
        rows: Tensor | Sequence[Sequence[float]],
        values: Tensor | Sequence[float] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self.rows = torch.as_tensor(rows, dtype=torch.float64)
        self.names = names or NAMES[: len(self.rows)]
        self.values = torch.ones(len(self.rows)).double() if values is None else torch.as_tensor(values).double()
        columns = self.rows.shape[1]
        self.shared = [Parameter(torch.zeros(2, 1).double()), Parameter(torch.zeros(columns - 2).double())]
        self.private = {name: Parameter(torch.zeros(()).double()) for name in self.names}

    def losses(self) -> tuple[dict[str, Tensor], Tensor]:
        """The losses () by name, and the features (1, P) where the tasks part."""
        x = torch.cat([p.flatten() for p in self.shared])
        z = x[None] * 1
        losses = {
            name: value + row @ z[0] + (1 + t) * self.private[name]
            for t, (name, value, row) in enumerate(zip(self.names, self.values, self.rows, strict=True))
        }
        return losses, z

    def update(self, balancer: Balancer, aux_loss: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What one backward gives the shared parameters (P,) and the tasks' private ones (T,)."""
        for p in [*self.shared, *self.private.values()]:
            p.grad = None
        return self.accumulated(balancer, aux_loss)

    def accumulated(self, balancer: Balancer, aux_loss: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The same on top of the gradients that are there; zeros where there is none."""
        losses, features = self.losses()
        balancer.backward(losses, aux_loss, self.shared, list(self.private.values()), features)
        gradients = [[torch.zeros_like(p) if p.grad is None else p.grad for p in side] for side in self._sides()]
        return torch.cat([g.flatten() for g in gradients[0]]), torch.stack(gradients[1])

    def _sides(self) -> tuple[list[Parameter], list[Parameter]]:
        return self.shared, list(self.private.values())
