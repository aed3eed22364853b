"""``mola check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mola.cli.common import choose_kernels, load_suite
from mola.types import one_line

SuiteFile = Annotated[Path, typer.Argument(metavar="SUITE.yaml", help="Configuration of the suite.")]


def check(config: SuiteFile) -> None:
    """Test the methods, balancers, benchmarks and backbones of your own that a suite names.

    A line for each part that is fine, and one for everything that is wrong, with file and line where its code raised an
    error; the exit code is then 2. Where the suite names no part of your own, those in its folder are tested, or else
    all parts that it names. Prepare the data first (mola prepare): methods and backbones are then tried on them, too.

    Example: mola check my.yaml
    """
    suite = load_suite(config)
    choose_kernels(suite)
    from mola.conformance.suite import chosen, examine

    parts, remark = chosen(suite)
    if remark:
        typer.echo(remark)
    wrong = 0
    for finding in examine(suite, parts):
        wrong += len(finding.problems)
        for problem in finding.problems:
            typer.echo(f"mola: {one_line(f'{finding.part}: {problem}')}", err=True)
        if not finding.problems:
            typer.echo(f"{finding.part}: fine")
        if finding.remark:
            typer.echo(f"{finding.part}: {finding.remark}")
    if wrong:
        raise typer.Exit(2)
