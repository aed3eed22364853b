"""Losses whose gradients are given: L_t = value_t + g_t·(x − x_0) + own gradient · own parameter."""

from __future__ import annotations

import torch
from torch.nn import Parameter

from mola import registry
from mola.types import Task

NAMES = ("a", "b", "c", "d", "e", "f", "g", "h", "i")


def tasks(number, kind="classes"):
    return tuple(Task(name, kind, 3, ("accuracy",)) for name in NAMES[:number])


def make(balancer, number, **options):
    checked = registry.check_options("balancers", balancer, options, balancer)
    return registry.create("balancers", balancer, tasks(number), None, options=checked)


class Problem:
    """A fresh graph per call of :meth:`losses`; gradients are the rows of ``rows`` (T, P), and 1 + t on own
    parameters.
    """

    def __init__(self, rows, values=None, names=None):
        self.rows = torch.as_tensor(rows, dtype=torch.float64)
        self.names = names or NAMES[: len(self.rows)]
        self.values = torch.ones(len(self.rows)).double() if values is None else torch.as_tensor(values).double()
        columns = self.rows.shape[1]
        self.shared = [Parameter(torch.zeros(2, 1).double()), Parameter(torch.zeros(columns - 2).double())]
        self.private = {name: Parameter(torch.zeros(()).double()) for name in self.names}

    def losses(self, features=False):
        x = torch.cat([p.flatten() for p in self.shared])
        z = x[None] * 1  # (1, P), where the tasks part
        losses = {
            name: value + row @ z[0] + (1 + t) * self.private[name]
            for t, (name, value, row) in enumerate(zip(self.names, self.values, self.rows, strict=True))
        }
        return (losses, z) if features else losses

    def update(self, balancer, aux_loss=None):
        """What one backward gives the shared parameters (P,) and the tasks' own (T,)."""
        for p in [*self.shared, *self.private.values()]:
            p.grad = None
        losses, features = self.losses(features=True)
        balancer.backward(losses, aux_loss, self.shared, list(self.private.values()), features)
        shared = torch.cat([p.grad.flatten() for p in self.shared])
        return shared, torch.stack([p.grad for p in self.private.values()])


def update(name, rows, values=None, **options):
    """The shared update of a fresh balancer."""
    return Problem(rows, values).update(make(name, len(rows), **options))[0]


CONFLICT = torch.tensor([[1.0, 0.5, -0.2, 0.3], [-0.8, 0.9, 0.1, 0.4], [0.1, -0.7, 1.5, 0.2]]).double()
AGREE = torch.tensor([[1.0, 0.5, 0.2, 0.3], [0.8, 0.9, 0.1, 0.4], [0.1, 0.7, 1.5, 0.2]]).double()
VALUES = torch.tensor([0.5, 2.0, 1.2]).double()
