"""Training steps under each balancer and of each method, against the plain sum of losses on hard sharing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mola import registry
from mola.balancers._features import OverFeatures
from mola.balancers._jacobian import Jacobian
from mola.bench.report import Entry
from mola.bench.step import named_tasks, random_batch, trained
from mola.bench.workloads import Case, Setting
from mola.types import BadInput, Balancer


def entries(
    case: Case,
    setting: Setting,
    tasks: int,
    balancers: Sequence[str],
    methods: Sequence[str],
    options: Mapping[str, object] | None = None,
) -> dict[str, Entry]:
    """``plain step``, then ``<balancer>, T = <tasks>`` and ``<method>, T = <tasks>``.

    options: of the balancers and methods that take them. Raises BadInput for a name that is neither, for an option that
    none of them takes, and for a wrong value.

    The bars on memory are on what a Jacobian balancer needs beside its matrix, a gradient of all shared parameters for
    every task: that is T numbers for each shared parameter, taken off the peak.
    """
    options = dict(options or {})
    rooms: list[tuple[registry.Kind, str]] = [("balancers", name) for name in balancers]
    rooms += [("methods", name) for name in methods]
    for room, name in rooms:
        registry.check_name(room, name)
    taken = sorted({option for room, name in rooms for option in registry.option_names(room, name)})
    for key in options:
        if key not in taken:
            hint = registry.did_you_mean(key, taken)
            raise BadInput(f"--option: expected one of {', '.join(taken) or 'none'}, found '{key}'{hint}")

    def chosen(room: registry.Kind, name: str, given: Mapping[str, object]) -> dict[str, Any]:
        known = registry.option_names(room, name)
        return registry.check_options(room, name, {k: v for k, v in given.items() if k in known}, name)

    torch.manual_seed(0)
    named = named_tasks(tasks)
    batch = random_batch(setting.images(case), named)
    adapters = {"where": case.where, "rank": case.rank}

    def built(name: str, balancer: str = "sum") -> Entry:
        method = registry.create(
            "methods", name, named, lambda: case.plain(0), options=chosen("methods", name, {**adapters, **options})
        )
        made: Balancer = registry.create(
            "balancers", balancer, named, setting.on, options=chosen("balancers", balancer, options)
        )
        entry = trained(method, named, batch, setting, made)
        if isinstance(made, Jacobian) and not isinstance(made, OverFeatures):
            entry.jacobian = tasks * sum(p.numel() * p.element_size() for p in method.shared_parameters())
        return entry

    found = {"plain step": built("shared")}
    found |= {row_of(name, tasks): built("shared", name) for name in balancers}
    return found | {row_of(name, tasks): built(name) for name in methods}


def pairs(words: Sequence[str]) -> dict[str, object]:
    """``KEY=VALUE`` each, values as in a configuration. Raises BadInput."""
    import yaml

    found: dict[str, object] = {}
    for word in words:
        key, equals, value = word.partition("=")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not (key and equals):
            raise BadInput(f"--option: expected KEY=VALUE, found '{word}'")
    return found


def row_of(name: str, tasks: int) -> str:
    """The name of a row."""
    return f"{name}, T = {tasks}"
