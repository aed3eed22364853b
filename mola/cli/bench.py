"""``mola bench``: what layers and steps of a model cost on this machine; with what a row of a suite costs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mola.cli import bench_runs
from mola.cli.bench_runs import Json, Repeats
from mola.cli.common import write_measurements
from mola.types import BadInput

if TYPE_CHECKING:
    from mola.bench.report import Entry
    from mola.bench.workloads import Setting, Workload

bench = typer.Typer(help="Measure on this machine; ratios are to the plain model in the same run.")
Model = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Any timm model by its name, with random weights. The workloads that thresholds bind have names of their "
        "own: resnet50, resnet18, resnet26_gn, vit_tiny, vit_small.",
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Images of a batch. Default: 8; resnet50, resnet18: 32; vit_tiny, resnet26_gn: 36."
    ),
]
Size = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Pixels of a side. Default: the model's own; resnets above: 64; vit_tiny: 112."
    ),
]
Where = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Layers with adapters, as mola.adapt's where. Default: every convolution and linear layer that adapters "
        "fit, but the classifier; the stages 2 to 4 of the named ResNets.",
    ),
]
RankOption = Annotated[
    int | None, typer.Option("--rank", min=1, metavar="R", help="Of adapters. Default: 4; ViTs above: 8.")
]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
PrecisionOption = Annotated[str, typer.Option(help="fp32 or bf16 (autocast).")]
ChannelsLast = Annotated[bool, typer.Option("--channels-last", help="Store images and kernels channels last.")]
Compiled = Annotated[bool, typer.Option("--compile", help="Run the models through torch.compile.")]


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
    gate: Annotated[
        list[str] | None,
        typer.Option(
            "--gate",
            metavar="NAME",
            help="grad, sorted, router, top2 or two_conv; repeatable; all: every one. Default: the first three.",
        ),
    ] = None,
    plans: Annotated[
        bool, typer.Option("--plans", help="Every plan forced, too, the two naive ones among them.")
    ] = False,
    batch: Batch = None,
    size: Size = None,
    where: Where = None,
    rank: RankOption = None,
    repeats: Repeats = 7,
    device: Device = "cpu",
    precision: PrecisionOption = "fp32",
    channels_last: ChannelsLast = False,
    compiled: Compiled = False,
    file: Json = None,
) -> None:
    """Time, memory and operations of a model with adapters, forward and backward, relative to the model without.

    Rows "grad" open the adapters by an expert's index for each image, in any order, "sorted" in ascending order, as the
    loader gives them; rows "router" by a weight for each expert, "top2" by the two largest of these; "two_conv" is
    "router" with PEFT's factorisation instead of the paper's.
    "memory" counts parameters, gradients and activations; "working" neither parameters nor gradients.
    Lines below the table say which of the project's thresholds were met. They bind the named workloads as they are.

    Examples: mola bench layers --model resnet18 -e 4 -e 32 --gate all; mola bench layers --model convnext_tiny
    """
    from mola.bench.layers import DEFAULT, GATES, entries
    from mola.bench.lookup import workload
    from mola.bench.workloads import Setting

    work = workload(model, batch, size, where, rank)
    setting = Setting(device, precision, channels_last, compiled)  # type: ignore[arg-type]
    gates = list(GATES) if gate == ["all"] else gate or DEFAULT
    _measure(work, setting, entries(work, setting, experts or [4], plans, gates), repeats, file)


@bench.command()
def step(
    model: Model = "resnet18",
    tasks: Annotated[int, typer.Option("--tasks", "-t", min=2, metavar="T", help="Tasks, and experts.")] = 4,
    batch: Batch = None,
    size: Size = None,
    where: Where = None,
    rank: RankOption = None,
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
    from mola.bench.lookup import workload
    from mola.bench.workloads import Setting
    from mola.registry import names

    work = workload(model, batch, size, where, rank)
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
def compare(
    model: Model = "vit_tiny",
    experts: Annotated[int, typer.Option("--experts", "-e", min=1, metavar="E", help="Experts, and tasks.")] = 4,
    balancer: Annotated[
        list[str] | None,
        typer.Option(
            "--balancer", metavar="NAME", help="Repeatable; all: every one that TorchJD has. Default: upgrad."
        ),
    ] = None,
    batch: Batch = None,
    size: Size = None,
    where: Where = None,
    rank: RankOption = None,
    repeats: Repeats = 7,
    device: Device = "cpu",
    precision: PrecisionOption = "fp32",
    channels_last: ChannelsLast = False,
    file: Json = None,
) -> None:
    """The same work by others, in one process: PEFT, a plain loop over experts, and TorchJD's engines.

    First a mixed batch, in which every image has its own expert, in training and in inference: mola.adapt, a loop over
    modules, PEFT with one LoRA for all (the floor: no choice of experts), with one adapter after the other, and with
    adapter_names=. All train the shared weights, too. Then whole steps of hard sharing under balancers, by ours and by
    TorchJD's autojac and autogram. Lines below each table say what was refused, in the words of who refused it, and how
    far results differ. PEFT's rows need pip install 'mola-bench[compare]'; without it the others are measured.

    Examples: mola bench compare; mola bench compare --model resnet18 -e 8 --balancer pcgrad --balancer mgda
    """
    from mola.bench.compare import adapters, with_torchjd
    from mola.bench.compare.report import as_json
    from mola.bench.lookup import workload
    from mola.bench.workloads import Setting

    work = workload(model, batch, size, where, rank)
    setting = Setting(device, precision, channels_last)  # type: ignore[arg-type]
    balancers = list(with_torchjd.AGGREGATORS) if balancer == ["all"] else balancer or ["upgrad"]
    with_torchjd.check(balancers, work.batch, experts)
    parts = adapters.parts(work, setting, experts, repeats)
    typer.echo("\n\n".join(str(part) for part in parts) + "\n")
    parts.append(with_torchjd.part(work, setting, balancers, experts, repeats))
    typer.echo(str(parts[-1]))
    if file is not None:
        write_measurements(file, as_json(work, setting, repeats, parts))


for of_a_row in (bench_runs.data, bench_runs.run, bench_runs.checkpoint):
    bench.command()(of_a_row)


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
