"""``mola bench``: what layers, steps and data cost on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from mola.cli.common import DEFAULT, Config, bad_input, chosen_experiments, load_suite, write_measurements

bench = typer.Typer(help="Measure on this machine; ratios are against the plain model in the same run.")
Model = Annotated[str, typer.Option(metavar="NAME", help="resnet50, resnet18 or vit_small.")]
Number = Annotated[int | None, typer.Option(min=1, metavar="N", help="Default: the case's.")]
Repeats = Annotated[int, typer.Option(min=1, help="Rounds; every round runs each entry once.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
PrecisionOption = Annotated[str, typer.Option(help="fp32 or bf16.")]
ChannelsLast = Annotated[bool, typer.Option("--channels-last", help="Store images and kernels channels last.")]
Compiled = Annotated[bool, typer.Option("--compile", help="Run the models through torch.compile.")]
_ALL = "Repeatable; all: every one."
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the rows there, too.")]


@bench.callback()
def _quiet() -> None:
    # torch's profiler reports its own comings and goings
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")


@bench.command()
def layers(
    model: Model = "resnet50",
    experts: Annotated[
        list[int] | None, typer.Option("--experts", "-e", min=1, metavar="E", help="Repeatable.")
    ] = None,
    plans: Annotated[bool, typer.Option("--plans", help="Every plan forced, the two naive ones among them.")] = False,
    batch: Number = None,
    size: Number = None,
    repeats: Repeats = 7,
    device: Device = "cpu",
    precision: PrecisionOption = "fp32",
    channels_last: ChannelsLast = False,
    compiled: Compiled = False,
    file: Json = None,
) -> None:
    """Time, memory and operations of adapted layers, forward and backward.

    "memory" counts parameters, gradients and activations; "working" neither parameters nor gradients.

    Example: mola bench layers --model resnet18 -e 4 -e 32
    """
    from mola.bench.layers import entries
    from mola.bench.workloads import Setting, case_of

    case = case_of(model, batch, size)
    setting = Setting(device, precision, channels_last, compiled)  # type: ignore[arg-type]
    _measured(case, setting, entries(case, setting, experts or [4], plans), repeats, file)


@bench.command()
def step(
    model: Model = "resnet18",
    tasks: Annotated[int, typer.Option("--tasks", "-t", min=2, metavar="T", help="Tasks, and experts.")] = 4,
    batch: Number = None,
    size: Number = None,
    repeats: Repeats = 15,
    device: Device = "cpu",
    precision: PrecisionOption = "fp32",
    channels_last: ChannelsLast = False,
    compiled: Compiled = False,
    balancer: Annotated[list[str] | None, typer.Option("--balancer", metavar="NAME", help=_ALL)] = None,
    method: Annotated[list[str] | None, typer.Option("--method", "-m", metavar="NAME", help=_ALL)] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="KEY=VALUE", help="Of those that take it; repeatable.")
    ] = None,
    file: Json = None,
) -> None:
    """Whole training steps of MoLA against the plain step, and apart: the router's network and the TwD loss.

    With --balancer or --method, those instead: hard sharing under the balancer, or the method under the sum of losses.
    "beside J" is memory without the Jacobian, which a balancer that makes one fills with a gradient per task.

    Examples: mola bench step -t 4; mola bench step --balancer pcgrad --balancer uw -m mtan -m ltb -o warmup=0
    """
    from mola.bench import methods as rivals
    from mola.bench import step as mola_steps
    from mola.bench.workloads import Setting, case_of
    from mola.registry import names

    case = case_of(model, batch, size)
    setting = Setting(device, precision, channels_last, compiled)  # type: ignore[arg-type]
    balancers = list(names("balancers")) if balancer == ["all"] else balancer or []
    methods = list(names("methods")) if method == ["all"] else method or []
    if balancers or methods:
        found = rivals.entries(case, setting, tasks, balancers, methods, rivals.pairs(option or []))
    elif option:
        raise bad_input("--option: expected --balancer or --method beside it, found neither")
    else:
        found = mola_steps.entries(case, setting, tasks)
    _measured(case, setting, found, repeats, file)


@bench.command()
def data(
    config: Config = DEFAULT,
    benchmark: Annotated[str, typer.Option("--benchmark", "-b", metavar="NAME", help="A benchmark of the suite.")] = "",
    method: Annotated[str, typer.Option("--method", "-m", metavar="LABEL", help="A method of the suite.")] = "",
    repeats: Repeats = 5,
    file: Json = None,
) -> None:
    """Images per second of the loader against the need of the training step, with the suite's own settings.

    Without -b and -m: the suite's first ones. Needs prepared data (mola prepare).

    Example: mola bench data -b digits -m mola_grad
    """
    suite = load_suite(config)
    experiment = chosen_experiments(suite, [benchmark] if benchmark else None, [method] if method else None)[0]
    from mola.bench.data import rates, told

    found, on = rates(experiment, repeats)
    typer.echo(told(found))
    if file is not None:
        from dataclasses import asdict

        from mola.bench.report import surroundings

        write_measurements(
            file, {**on, "repeats": repeats, **surroundings(on["device"]), "images_per_second": asdict(found)}
        )


@bench.command()
def page(files: Annotated[list[Path], typer.Argument(metavar="FILE...")]) -> None:
    """Show what --json wrote, as Markdown tables with the bars that were met and missed.

    Example: mola bench page docs/benchmarks/*.json
    """
    from mola.bench.page import page

    typer.echo(page(files))


def _measured(case: Any, setting: Any, entries: Any, repeats: int, file: Path | None) -> None:
    from mola.bench.report import as_json, compare, table
    from mola.bench.thresholds import held

    rows = compare(entries, setting, repeats)
    bars = held(case, setting, rows)
    typer.echo("\n".join([table(rows), *bars]))
    if file is not None:
        write_measurements(file, {**as_json(case, setting, repeats, rows), "bars": bars})
