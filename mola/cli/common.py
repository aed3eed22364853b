"""What the commands share: options, the suite's file, files that options name, and log lines."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CalledProcessError
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mola.files import write_text
from mola.types import BadInput

if TYPE_CHECKING:
    from mola.config import Suite
    from mola.experiment.spec import Experiment

DEFAULT = Path("config/config.yaml")
Config = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="Configuration of the suite.")]
Benchmarks = Annotated[
    list[str] | None,
    typer.Option("--benchmark", "-b", metavar="LABEL", help="Only this benchmark of the suite; repeatable."),
]
Methods = Annotated[
    list[str] | None, typer.Option("--method", "-m", metavar="LABEL", help="Only this method of the suite; repeatable.")
]
Drafts = Annotated[bool, typer.Option("--drafts", help="Count runs of code that is in no commit, too, and say so.")]


def load_suite(config: Path) -> Suite:
    """The suite of a configuration file. Raises BadInput."""
    from mola.config import load

    return load(config)


def chosen_experiments(suite: Suite, benchmarks: list[str] | None, methods: list[str] | None) -> list[Experiment]:
    """The experiments that ``-b`` and ``-m`` choose; all of the suite by default. Raises BadInput for other names, and
    for a row that is trained on none of the chosen benchmarks.
    """
    from mola.experiment.spec import check_raw, experiment

    # a benchmark without rows is none of the suite's: with any row it is refused below
    rows = {name: suite.rows(name) or list(suite.methods) for name in benchmarks or suite.benchmarks}
    trained = {label for labels in rows.values() for label in labels}
    chosen = [
        experiment(suite, benchmark, label)
        for benchmark, labels in rows.items()
        for label in methods or labels
        if label in labels or label not in trained
    ]
    check_raw(suite, dict.fromkeys(one.benchmark for one in chosen))
    return chosen


def choose_kernels(suite: Suite) -> None:
    """Set the environment for portable runs where the suite asks for them: before torch and NumPy are imported.

    Raises BadInput on a machine that has no such kernels, and where NumPy, which is asked for its loops, does not work.
    """
    if suite.is_portable:
        from mola import portable

        try:
            portable.prepare()
        except (CalledProcessError, OSError) as error:
            lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            raise BadInput(f"{portable.KEY}: expected a NumPy that can be imported, found: {lines[-1]}") from None


def write_file(path: Path, text: str, option: str) -> None:
    """Write a file that an option names. Raises BadInput where that can't be done."""
    try:
        write_text(path, text)
    except OSError as error:
        raise BadInput(f"{option}: expected a file that can be written, found {path}: {error.strerror}") from None


def write_measurements(path: Path, content: dict[str, Any]) -> None:
    """Write what a bench command measured, with the command, as JSON."""
    words = ["mola", *sys.argv[1:]]
    # where the file lies says nothing of what is in it
    if "--json" in words:
        del words[words.index("--json") : words.index("--json") + 2]
    write_file(path, json.dumps({"command": " ".join(words), **content}, indent=1) + "\n", "--json")


@contextmanager
def log_lines(without: str | None = None) -> Iterator[None]:
    """Log lines of the package on stderr, but those of ``without``; above a progress bar where that is a terminal."""
    handler: logging.Handler = logging.StreamHandler()
    if sys.stderr.isatty():
        from rich.highlighter import NullHighlighter
        from rich.logging import RichHandler

        from mola.terminal import console

        handler = RichHandler(console=console(), show_path=False, show_level=False, highlighter=NullHighlighter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("mola")
    handler.setLevel(logging.INFO)
    if without is not None:
        handler.addFilter(lambda record: not record.name.startswith(without))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
