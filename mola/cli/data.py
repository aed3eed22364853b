"""``mola fetch`` and ``mola prepare``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from mola.cli.common import DEFAULT, Benchmarks, Config, load_suite
from mola.types import BadInput, one_line

Names = Annotated[
    list[str] | None, typer.Argument(metavar="NAME", help="Benchmarks, in the suite or not. Default: the suite's.")
]
From = Annotated[
    Path | None, typer.Option("--from", metavar="PATH", help="A file or folder that you have, instead of a download.")
]


def fetch(names: Names = None, config: Config = DEFAULT, benchmark: Benchmarks = None, source: From = None) -> None:
    """Bring the raw data of benchmarks and check it: the suite's, or those named.

    Licences and terms are shown before a download. A download that was interrupted goes on; one that is done is kept.
    Where one can't be had, the others are brought all the same; the exit code is then 2.

    Examples: mola fetch; mola fetch pacs; mola fetch pacs --from PACS.zip
    """
    chosen = [*(names or []), *(benchmark or [])]
    if source is not None and len(chosen) != 1:
        raise BadInput(f"--from: expected one benchmark to put it in, found {', '.join(chosen) or 'none'}")
    messages = []
    for name, data in _benchmarks(config, chosen):
        try:
            if source is not None:
                data.place(source)
            data.fetch()
        except BadInput as error:
            messages.append(f"mola: {one_line(error)}")
            continue
        typer.echo(f"{name}: {len(data.sources)} {'sources' if len(data.sources) > 1 else 'source'} verified")
    if messages:
        typer.echo("\n".join(messages), err=True)
        raise typer.Exit(2)


def prepare(names: Names = None, config: Config = DEFAULT, benchmark: Benchmarks = None) -> None:
    """Turn the raw data into arrays, once; checks and repairs what is there.

    Example: mola prepare digits
    """
    for name, data in _benchmarks(config, [*(names or []), *(benchmark or [])]):
        data.fetch()
        typer.echo(f"{name}: prepared in {data.prepare()}")


def _benchmarks(config: Path, chosen: list[str]) -> Iterator[tuple[str, Any]]:
    """Benchmarks by name, with the options that the suite gives them; the suite's own where none is named."""
    suite = load_suite(config)
    from mola import registry

    for name in chosen or suite.benchmarks:
        given = suite.benchmarks[name].options if name in suite.benchmarks else {}
        options = registry.check_options("benchmarks", name, given, f"benchmarks.{name}")
        yield name, registry.create("benchmarks", name, suite.data, options=options)
