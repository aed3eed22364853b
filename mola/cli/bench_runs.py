"""``mola bench data``, ``run`` and ``checkpoint``: what a row of a suite costs on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mola.cli.common import DEFAULT, Config, choose_kernels, chosen_experiments, load_suite, write_measurements

if TYPE_CHECKING:
    from mola.experiment.spec import Experiment

Benchmark = Annotated[str, typer.Option("--benchmark", "-b", metavar="NAME", help="A benchmark of the suite.")]
Label = Annotated[str, typer.Option("--method", "-m", metavar="LABEL", help="A method of the suite.")]
Repeats = Annotated[int, typer.Option(min=1, metavar="N", help="Rounds; every round runs each row once, in turn.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write what was measured there, too.")]


def data(
    config: Config = DEFAULT,
    benchmark: Benchmark = "",
    method: Label = "",
    repeats: Repeats = 5,
    tera: Annotated[
        float,
        typer.Option("--tera", min=1e-6, metavar="N", help="10¹² operations a second that a GPU of yours reaches."),
    ] = 20.0,
    file: Json = None,
) -> None:
    """Images per second of the loader and of training, with the suite's settings, beside what a GPU needs.

    Training waits for data where the loader gives less than the step needs. On a machine without a GPU the operations
    of a step say how many images a second one would train that reaches --tera: mola bench layers prints the share of
    its peak that a device reaches. Without -b and -m: the suite's first benchmark and method. Needs prepared data (mola
    prepare).

    Examples: mola bench data -b digits -m mola_grad; mola bench data -b digits -m shared --tera 100
    """
    experiment = _experiment(config, benchmark, method)
    from dataclasses import asdict

    from mola.bench.data import rates
    from mola.bench.report import surroundings

    measured, conditions = rates(experiment, repeats, tera)
    typer.echo(str(measured))
    if file is not None:
        conditions |= {"repeats": repeats, **surroundings(conditions["device"])}
        speeds = asdict(measured)
        supposed = {key: speeds.pop(key) for key in ("flops", "tera")}
        write_measurements(file, {**conditions, "images_per_second": speeds, **supposed})


def run(
    config: Config = DEFAULT,
    benchmark: Benchmark = "",
    method: Label = "",
    repeats: Annotated[int, typer.Option(min=1, metavar="N", help="Whole runs, one after the other.")] = 1,
    file: Json = None,
) -> None:
    """What a small run pays beside its steps: the share of start-up, evaluation, checkpoints and records.

    "busy" is of the process on all its cores, "wall" of the clock; the threshold is on the first.
    Trains the suite's first seed from beginning to end in a process of its own, on one core, in a folder that is
    removed. Start-up is from the start of the process to its first step: imports, data, model, the first checkpoint.
    Untuned, as tuning changes no durations. Without -b and -m: the suite's first benchmark and method. Needs prepared
    data (mola prepare).

    Example: mola bench run -b digits -m shared
    """
    experiment = _experiment(config, benchmark, method)
    # refused before anything is trained, where the data are not prepared
    experiment.data.identity  # noqa: B018
    from dataclasses import asdict

    from mola.bench.report import surroundings
    from mola.bench.run import shares

    measured = shares(experiment, config, experiment.suite.seeds[0], repeats)
    typer.echo(str(measured))
    if file is not None:
        content = {"repeats": repeats, **surroundings("cpu"), "run": asdict(measured)}
        content["machine"]["threads"] = int(os.environ.get("OMP_NUM_THREADS", "1"))
        write_measurements(file, content)


def checkpoint(
    config: Config = DEFAULT,
    benchmark: Benchmark = "",
    method: Label = "",
    repeats: Repeats = 5,
) -> None:
    """Size of a run's checkpoint, seconds to write it, and the share of a run that checkpoints cost, at most.

    With the suite's settings, training.checkpoint among them, on the disk of its results. Without -b and -m: the
    suite's first benchmark and method. Needs prepared data (mola prepare).

    Example: mola bench checkpoint -b digits -m mola_grad
    """
    experiment = _experiment(config, benchmark, method)
    from mola.bench.checkpoints import cost

    typer.echo(str(cost(experiment, repeats)))


def _experiment(config: Path, benchmark: str, method: str) -> Experiment:
    suite = load_suite(config)
    choose_kernels(suite)
    return chosen_experiments(suite, [benchmark] if benchmark else None, [method] if method else None)[0]
