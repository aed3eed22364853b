"""``mola reproduce``."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mola.cli.common import (
    DEFAULT,
    Benchmarks,
    Config,
    Methods,
    choose_kernels,
    chosen_experiments,
    load_suite,
    log_lines,
)
from mola.types import BadInput

if TYPE_CHECKING:
    from mola.config import Suite
    from mola.experiment.reproduce import SampledRun
    from mola.experiment.spec import Experiment

# other bits alone moved short runs, in the steep part of training, by up to 2.8 points (docs/protocol.md)
TOLERANCE = 5.0
Number = Annotated[int | None, typer.Option("--sample", metavar="N", min=1, help="Train N finished runs once more.")]
Draw = Annotated[
    int | None, typer.Option("--draw", metavar="K", min=0, help="Seed of the draw. Default: another one every time.")
]
Tolerance = Annotated[
    float | None,
    typer.Option("--tolerance", metavar="POINTS", min=0, help=f"Of the mean test score. Default: {TOLERANCE:g}."),
]
Certify = Annotated[bool, typer.Option("--certify", help="Keep records that a change of code alone made stale.")]


def reproduce(
    config: Config = DEFAULT,
    benchmark: Benchmarks = None,
    method: Methods = None,
    sample: Number = None,
    draw: Draw = None,
    tolerance: Tolerance = None,
    certify: Certify = False,
) -> None:
    """Train finished runs once more and compare them with their records: --sample N, or --certify.

    --sample N draws N runs and trains them in a scratch folder; nothing below results is written. Runs with
    training.deterministic: portable have to be equal to the last bit where the versions of torch, numpy … are those of
    the record. Others have to agree within --tolerance. What differs of machine, versions and threads is said first.
    The exit code is 1 if a run differs.

    --certify is for records that are stale only because code was edited: it trains one seed of every benchmark, method
    and old code, and the best trial of a tuned one. Where that gives the same bits, the other records are stamped with
    the code of today and say by which seed (docs/protocol.md); where it does not, their seeds are trained again. The
    code has to be committed. The exit code is 1 if a record is left that does not count.

    Examples: mola reproduce --sample 3; mola reproduce --sample 1 -b digits --draw 7; mola reproduce --certify
    """
    if (sample is None) != certify:
        raise BadInput("expected --sample N or --certify, found " + ("both" if certify else "neither"))
    for option, value in (("--draw", draw), ("--tolerance", tolerance)):
        if certify and value is not None:
            raise BadInput(f"{option}: expected --sample N with it, found --certify")
    suite = load_suite(config)
    # before planning, as in train
    if certify:
        choose_kernels(suite)
    else:
        _choose_kernels_or_say(suite)
    experiments = chosen_experiments(suite, benchmark, method)
    # hashed before it is imported, as in train
    for experiment in experiments:
        experiment.fingerprint  # noqa: B018
    if sample is None:
        _certify(experiments)
    else:
        _sample(experiments, sample, secrets.randbelow(100_000) if draw is None else draw, tolerance, suite.folder)


def _choose_kernels_or_say(suite: Suite) -> None:
    """Portable kernels where this machine has them; the sample says where it has not, and compares within bounds."""
    from mola import portable

    if not portable.unsupported():
        choose_kernels(suite)


def _sample(experiments: list[Experiment], number: int, seed: int, tolerance: float | None, folder: Path) -> None:
    from mola.experiment.reproduce import compare, draw

    points = TOLERANCE if tolerance is None else tolerance
    runs, total = draw(experiments, number, seed)
    if not runs:
        raise BadInput(f"{folder}: expected finished runs of the suite as it is now, found none; see mola status")
    typer.echo(f"{len(runs)} of {total} finished runs, --draw {seed}")
    for expectation, count in Counter(_expectation(run, points) for run in runs).items():
        typer.echo(f"{count} {'run' if count == 1 else 'runs'}: {expectation}")
    if different := _echoed(compare(runs, points)):
        typer.echo(f"mola: {different} of {len(runs)} runs differ from their records", err=True)
        raise typer.Exit(1)


def _expectation(run: SampledRun, points: float) -> str:
    """What a run of the sample is held to, and why."""
    kind = "portable" if run.is_portable else "not portable"
    if run.exact:
        return f"{kind}, with the versions and threads of here: every bit has to be equal"
    where = f", what differs or may: {'; '.join(run.may_differ)}" if run.may_differ else ""
    return f"{kind}{where}: the mean test score has to agree within {points:g} points"


def _certify(experiments: list[Experiment]) -> None:
    from mola.experiment.certify import certify
    from mola.tuning.again import differences

    if _echoed(certify(experiments, differences)):
        raise typer.Exit(1)


def _echoed(lines: Iterable[tuple[str, bool]]) -> int:
    """Show lines as they come; returns how many of them are not as they should be."""
    failed = 0
    with log_lines():
        for line, fine in lines:
            typer.echo(line)
            failed += not fine
    return failed
