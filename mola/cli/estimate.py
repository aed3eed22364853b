"""``mola estimate``: how long a suite will take."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from mola.cli.common import DEFAULT, Benchmarks, Config, Methods, choose_kernels, chosen_experiments, load_suite

Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", min=1, metavar="N", help="Runs side by side. Default: one per core, or per GPU."),
]


def estimate(config: Config = DEFAULT, benchmark: Benchmarks = None, method: Methods = None, jobs: Jobs = None) -> None:
    """Measure a few training steps of every row, and say how long the suite will take.

    Every row's data must be prepared. Runs that are done are counted as if they were not; mola status has the others.
    On a CPU these are seconds of a core, whatever else the machine does meanwhile. Side by side on one machine runs may
    slow each other down.

    Example: mola estimate -c config/smoke.yaml -b digits
    """
    suite = load_suite(config)
    choose_kernels(suite)
    experiments = chosen_experiments(suite, benchmark, method)
    for experiment in experiments:
        # refused before torch is imported, where the data are not prepared
        experiment.data.identity  # noqa: B018
    import torch

    from mola.experiment.duration import span
    from mola.experiment.estimate import measured, together

    gpus = torch.cuda.device_count() if suite.device != "cpu" else 0
    if not gpus:
        # as the workflow runs them
        torch.set_num_threads(1)
    jobs = jobs or gpus or os.cpu_count() or 1
    paces = []
    for experiment in experiments:
        paces.append(measured(experiment))
        trials = f", tuning {span(paces[-1].trials)}" if paces[-1].trials else ""
        typer.echo(f"{experiment.name}: {span(paces[-1].run)} a run{trials}")
    seeds = len(suite.seeds)
    number = f"{len(paces)} rows × {seeds} seeds" if seeds > 1 else f"{len(paces)} rows"
    typer.echo(f"{number}, {jobs} at a time: about {span(together(paces, seeds, jobs))}")
