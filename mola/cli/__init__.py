"""The command line. Every command reads one configuration file; imports stand inside the commands, so that
``--help`` is instant.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from typing import Annotated

import typer

import mola
from mola.cli import check, data, model, new, report, reproduce, train
from mola.cli.bench import bench
from mola.cli.estimate import estimate
from mola.cli.init import init
from mola.extras import lacking
from mola.training.stopping import AFTER, Stopped, termination_as_exception
from mola.types import BadInput, shown

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    # of every command below, too
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Compare ways of training one model on heterogeneous data: "
    "mixtures of low-rank adapters (MoLA) and their baselines.",
    epilog="Start with: mola list; then: mola prepare -b digits, mola train -b digits -m mola_grad -s 0, mola table. "
    "`snakemake --cores all all` does all of it. Exit codes: 0 fine, 1 a run failed, 2 bad input, 130 and 143 stopped "
    "by a signal.",
)
# click's UsageError, of typer's own click since 0.26
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]

COMMANDS: tuple[Callable[..., None], ...] = (
    *(data.fetch, data.prepare, train.train, train.tune, train.status, estimate, reproduce.reproduce),
    *(model.export, model.predict),
    *(report.table, report.figures, report.about, report.report),
)
for command in COMMANDS:
    app.command()(command)
app.command("list")(report.list_names)
app.command()(check.check)
app.command()(init)
app.command()(data.croissant)
app.add_typer(new.new, name="new")
app.add_typer(bench, name="bench")


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"mola {mola.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; bad input is one line on stderr and exit code 2, never a traceback."""
    try:
        with termination_as_exception():
            code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except Stopped as stop:
        _fail(stop, stop.exit_code)
    except BadInput as error:
        _fail(error)
    except USAGE_ERROR as error:
        _fail(error.format_message())  # type: ignore[attr-defined]
    except (KeyboardInterrupt, typer.Abort):
        _fail(f"interrupted; {AFTER}", 130)
    except Exception as error:
        from mola.faults import line_of

        # the code of a plugin, a package that is not installed, or a disk; an error of ours keeps its traceback
        if (line := line_of(error) or lacking(error, sys.argv[1:]) or _of_the_disk(error)) is None:
            raise
        _fail(line)
    sys.exit(code if isinstance(code, int) else 0)


def _of_the_disk(error: Exception) -> str | None:
    """A file that can't be written, in one line; None for another error."""
    from mola.data.disk import FULL, reason

    if not isinstance(error, OSError) or error.errno not in {*FULL, errno.EROFS, errno.EACCES, errno.EPERM}:
        return None
    place = error.filename2 or error.filename or "the disk"
    return f"{place}: expected a place that can be written, found {reason(error)}"


def _fail(message: object, code: int = 2) -> None:
    print(f"mola: {shown(message)}", file=sys.stderr)
    sys.exit(code)
