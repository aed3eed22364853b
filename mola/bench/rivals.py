"""Training steps under each balancer and of each method, against the plain sum of losses on hard sharing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mola import registry
from mola.balancers._features import OverFeatures
from mola.balancers._jacobian import Jacobian
from mola.bench.cases import Case, Setting
from mola.bench.report import Entry
from mola.bench.step import named_tasks, random_batch, trained
from mola.types import Balancer


def entries(
    case: Case, setting: Setting, tasks: int, balancers: Sequence[str], methods: Sequence[str]
) -> dict[str, Entry]:
    """``plain step``, then ``<balancer>, T = <tasks>`` and ``<method>, T = <tasks>``. Raises BadInput for a name that
    is neither.

    A Jacobian balancer's matrix, a gradient of all shared parameters for every task, is left out of its memory: it is
    what the method is, and the bars are on what comes beside it.
    """
    for room, names in (("balancers", balancers), ("methods", methods)):
        for name in names:
            registry.check_name(room, name)  # type: ignore[arg-type]
    torch.manual_seed(0)
    named = named_tasks(tasks)
    batch = random_batch(setting.images(case), named)

    def built(method: str, balancer: str) -> Entry:
        known = registry.option_names("methods", method)
        options: dict[str, Any] = {k: v for k, v in (("where", case.where), ("rank", case.rank)) if k in known}
        made: Balancer = registry.load("balancers", balancer)(named, setting.on)
        return trained(
            registry.load("methods", method)(named, lambda: case.plain(0), **options), named, batch, setting, made
        )

    found = {"plain step": built("shared", "sum")}
    for name in balancers:
        entry = built("shared", name)
        kind = registry.load("balancers", name)
        if issubclass(kind, Jacobian) and not issubclass(kind, OverFeatures):
            entry.apart = tasks * sum(p.numel() * p.element_size() for p in entry.shared)
        found[row_of(name, tasks)] = entry
    for name in methods:
        found[row_of(name, tasks)] = built(name, "sum")
    return found


def row_of(name: str, tasks: int) -> str:
    """The name of a row."""
    return f"{name}, T = {tasks}"
