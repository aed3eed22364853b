"""``mola bench``: what layers, steps and data cost on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mola.cli.common import DEFAULT, Config, choose_kernels, chosen_experiments, load_suite, write_measurements
from mola.types import BadInput

if TYPE_CHECKING:
    from mola.bench.report import Entry
    from mola.bench.workloads import Setting, Workload

bench = typer.Typer(help="Measure on this machine; ratios are to the plain model in the same run.")
Model = Annotated[str, typer.Option(metavar="NAME", help="resnet50, resnet18, resnet26_gn, vit_tiny or vit_small.")]
Batch = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Images of a batch. Default: 32; vit_small: 8; vit_tiny, resnet26_gn: 36."),
]
Size = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Pixels of a side. Default: 64; vit_small: 224; vit_tiny: 112.")
]
Repeats = Annotated[int, typer.Option(min=1, metavar="N", help="Rounds; every round runs each row once, in turn.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
PrecisionOption = Annotated[str, typer.Option(help="fp32 or bf16 (autocast).")]
ChannelsLast = Annotated[bool, typer.Option("--channels-last", help="Store images and kernels channels last.")]
Compiled = Annotated[bool, typer.Option("--compile", help="Run the models through torch.compile.")]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write what was measured there, too.")]


@bench.callback()
def _quiet() -> None:
    # torch's profiler logs each of its starts and stops
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")


@bench.command()
def layers(
    model: Model = "resnet50",
    experts: Annotated[
        list[int] | None, typer.Option("--experts", "-e", min=1, metavar="E", help="Experts; repeatable. Default: 4.")
    ] = None,
    plans: Annotated[
        bool, typer.Option("--plans", help="Every plan forced, too, the two naive ones among them.")
    ] = False,
    batch: Batch = None,
    size: Size = None,
    repeats: Repeats = 7,
    device: Device = "cpu",
    precision: PrecisionOption = "fp32",
    channels_last: ChannelsLast = False,
    compiled: Compiled = False,
    file: Json = None,
) -> None:
    """Time, memory and operations of a model with adapters, forward and backward, relative to the model without.

    Rows "grad" open the adapters by an expert's index for each image, rows "router" by a weight for each expert.
    "memory" counts parameters, gradients and activations; "working" neither parameters nor gradients.

    Example: mola bench layers --model resnet18 -e 4 -e 32
    """
    from mola.bench.layers import entries
    from mola.bench.workloads import Setting, workload

    work = workload(model, batch, size)
    setting = Setting(device, precision, channels_last, compiled)  # type: ignore[arg-type]
    _measure(work, setting, entries(work, setting, experts or [4], plans), repeats, file)


@bench.command()
def step(
    model: Model = "resnet18",
    tasks: Annotated[int, typer.Option("--tasks", "-t", min=2, metavar="T", help="Tasks, and experts.")] = 4,
    batch: Batch = None,
    size: Size = None,
    repeats: Repeats = 15,
    device: Device = "cpu",
    precision: PrecisionOption = "fp32",
    channels_last: ChannelsLast = False,
    compiled: Compiled = False,
    balancer: Annotated[
        list[str] | None, typer.Option("--balancer", metavar="NAME", help="Repeatable; all: every balancer.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", "-m", metavar="NAME", help="Repeatable; all: every method.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="KEY=VALUE", help="Of the balancers and methods with it; repeatable."),
    ] = None,
    file: Json = None,
) -> None:
    """Whole training steps, relative to plain training: one shared backbone and a head for each task.

    By default: those of MoLA-Grad and MoLA-Router, and apart: the router's network and the TwD loss.
    With --balancer or --method, those instead: hard sharing under the balancer, or the method under the sum of losses.
    "without J" is memory without the Jacobian, in which a balancer keeps a gradient per task.

    Examples: mola bench step -t 4; mola bench step --balancer pcgrad --balancer uw -m mtan -m ltb -o warmup=0
    """
    from mola.bench import methods as of_methods
    from mola.bench import step as of_mola
    from mola.bench.workloads import Setting, workload
    from mola.registry import names

    work = workload(model, batch, size)
    setting = Setting(device, precision, channels_last, compiled)  # type: ignore[arg-type]
    balancers = list(names("balancers")) if balancer == ["all"] else balancer or []
    methods = list(names("methods")) if method == ["all"] else method or []
    if balancers or methods:
        options = of_methods.pairs(option or [])
        entries = of_methods.entries(work, setting, tasks, balancers, methods, options)
    elif option:
        raise BadInput("--option: expected --balancer or --method with it, found neither")
    else:
        entries = of_mola.entries(work, setting, tasks)
    _measure(work, setting, entries, repeats, file)


@bench.command()
def data(
    config: Config = DEFAULT,
    benchmark: Annotated[str, typer.Option("--benchmark", "-b", metavar="NAME", help="A benchmark of the suite.")] = "",
    method: Annotated[str, typer.Option("--method", "-m", metavar="LABEL", help="A method of the suite.")] = "",
    repeats: Repeats = 5,
    file: Json = None,
) -> None:
    """Images per second of the loader and of training, with the suite's settings.

    Training waits for data where the loader gives less than the step needs. Without -b and -m: the suite's first
    benchmark and method. Needs prepared data (mola prepare).

    Example: mola bench data -b digits -m mola_grad
    """
    suite = load_suite(config)
    choose_kernels(suite)
    experiment = chosen_experiments(suite, [benchmark] if benchmark else None, [method] if method else None)[0]
    from dataclasses import asdict

    from mola.bench.data import rates
    from mola.bench.report import surroundings

    measured, conditions = rates(experiment, repeats)
    typer.echo(str(measured))
    if file is not None:
        conditions |= {"repeats": repeats, **surroundings(conditions["device"])}
        write_measurements(file, {**conditions, "images_per_second": asdict(measured)})


@bench.command()
def checkpoint(
    config: Config = DEFAULT,
    benchmark: Annotated[str, typer.Option("--benchmark", "-b", metavar="NAME", help="A benchmark of the suite.")] = "",
    method: Annotated[str, typer.Option("--method", "-m", metavar="LABEL", help="A method of the suite.")] = "",
    repeats: Repeats = 5,
) -> None:
    """Size of a run's checkpoint, seconds to write it, and the share of a run that checkpoints cost, at most.

    With the suite's settings, training.checkpoint among them, on the disk of its results. Without -b and -m: the
    suite's first benchmark and method. Needs prepared data (mola prepare).

    Example: mola bench checkpoint -b digits -m mola_grad
    """
    suite = load_suite(config)
    choose_kernels(suite)
    experiment = chosen_experiments(suite, [benchmark] if benchmark else None, [method] if method else None)[0]
    from mola.bench.checkpoints import cost

    typer.echo(str(cost(experiment, repeats)))


@bench.command()
def page(files: Annotated[list[Path], typer.Argument(metavar="FILE...")]) -> None:
    """Show what --json wrote, as Markdown tables with the thresholds that were met and missed.

    Example: mola bench page docs/benchmarks/*.json
    """
    from mola.bench.page import page

    typer.echo(page(files))


def _measure(work: Workload, setting: Setting, entries: Mapping[str, Entry], repeats: int, file: Path | None) -> None:
    from mola.bench.report import as_json, compare, table
    from mola.bench.thresholds import verdicts

    rows = compare(entries, setting, repeats)
    lines = verdicts(work, setting, rows)
    typer.echo("\n".join([table(rows), *lines]))
    if file is not None:
        write_measurements(file, {**as_json(work, setting, repeats, rows), "thresholds": lines})
