"""Balancers on losses whose gradients are given (:mod:`mola.conformance.problem`)."""

from __future__ import annotations

import torch

from mola import registry
from mola.conformance.problem import CONFLICT, NAMES, VALUES, Problem
from mola.types import Task

__all__ = ["CONFLICT", "NAMES", "VALUES", "Problem"]


def tasks(number, kind="classes"):
    return tuple(Task(name, kind, 3, ("accuracy",)) for name in NAMES[:number])


def make(balancer, number, **options):
    checked = registry.check_options("balancers", balancer, options, balancer)
    return registry.create("balancers", balancer, tasks(number), None, options=checked)


def update(name, rows, values=None, **options):
    """The shared update of a fresh balancer."""
    return Problem(rows, values).update(make(name, len(rows), **options))[0]


AGREE = torch.tensor([[1.0, 0.5, 0.2, 0.3], [0.8, 0.9, 0.1, 0.4], [0.1, 0.7, 1.5, 0.2]]).double()
