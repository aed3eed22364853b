"""Training steps under each balancer and of each method, against the plain sum of losses on hard sharing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import yaml

from mola import registry
from mola.bench.report import Entry
from mola.bench.step import classifications, create_method, random_batch, step_entry
from mola.bench.workloads import Setting, Workload
from mola.types import BadInput, Balancer


def entries(
    workload: Workload,
    setting: Setting,
    number: int,
    balancers: Sequence[str],
    methods: Sequence[str],
    options: Mapping[str, object] | None = None,
) -> dict[str, Entry]:
    """``plain step``, then ``<balancer>, T = <number>`` and ``<method>, T = <number>``, with so many tasks.

    options: of the balancers and methods that take them. Raises BadInput for a name that is neither, for an option that
    none of them takes, and for a wrong value.

    The thresholds on memory are on what a Jacobian balancer needs without its matrix, a gradient of all shared
    parameters for every task: that is T numbers for each shared parameter, taken off the peak.
    """
    options = dict(options or {})
    chosen: list[tuple[registry.Kind, str]] = [
        *(("balancers", name) for name in balancers),
        *(("methods", name) for name in methods),
    ]
    known = sorted({option for kind, name in chosen for option in registry.option_names(kind, name)})
    for key in options:
        if key not in known:
            hint = registry.did_you_mean(key, known)
            raise BadInput(f"--option: expected one of {', '.join(known) or 'none'}, found '{key}'{hint}")

    def checked(kind: registry.Kind, name: str, values: Mapping[str, object]) -> dict[str, object]:
        names = registry.option_names(kind, name)
        return registry.check_options(kind, name, {k: v for k, v in values.items() if k in names}, name)

    torch.manual_seed(0)
    tasks = classifications(number)
    batch = random_batch(setting.images(workload), tasks)

    def entry(name: str, weighting: str = "sum") -> Entry:
        method = create_method(name, tasks, workload, checked("methods", name, {**workload.adapters, **options}))
        balancer: Balancer = registry.create(
            "balancers", weighting, tasks, setting.on, options=checked("balancers", weighting, options)
        )
        work = step_entry(method, tasks, batch, setting, balancer)
        if registry.load("balancers", weighting).cost == "jacobian":
            work.jacobian_bytes = number * sum(p.numel() * p.element_size() for p in method.shared_parameters())
        return work

    works = {"plain step": entry("shared")}
    works |= {f"{name}, T = {number}": entry("shared", name) for name in balancers}
    return works | {f"{name}, T = {number}": entry(name) for name in methods}


def pairs(words: Sequence[str]) -> dict[str, object]:
    """``KEY=VALUE`` each, values as in a configuration. Raises BadInput."""
    options: dict[str, object] = {}
    for word in words:
        key, equals, value = word.partition("=")
        try:
            options[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not (key and equals):
            raise BadInput(f"--option: expected KEY=VALUE, found '{word}'")
    return options
