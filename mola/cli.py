"""The command line. Every command reads one configuration file; imports stand inside the commands, so that
``--help`` is instant.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mola.config import Suite

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="Compare ways of training one model on heterogeneous data: "
    "mixtures of low-rank adapters (MoLA) and their baselines.",
    epilog="Start with: mola list; then: mola prepare -b digits, mola train -b digits -m mola_grad -s 0, mola table. "
    "`snakemake --cores all all` does all of it. Exit codes: 0 fine, 1 a run failed, 2 bad input.",
)
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]  # click's UsageError, of typer's own click since 0.26
bench = typer.Typer(help="Measure on this machine; ratios are against the plain model in the same run.")
app.add_typer(bench, name="bench")
DEFAULT = Path("config/config.yaml")
Config = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="Configuration of the suite.")]
Benchmarks = Annotated[
    list[str] | None,
    typer.Option("--benchmark", "-b", metavar="NAME", help="Only this benchmark of the suite; repeatable."),
]
Methods = Annotated[
    list[str] | None, typer.Option("--method", "-m", metavar="LABEL", help="Only this method of the suite; repeatable.")
]
Seeds = Annotated[
    list[int] | None,
    typer.Option("--seed", "-s", metavar="K", help="Only this seed; repeatable. Default: the suite's."),
]


Names = Annotated[
    list[str] | None, typer.Argument(metavar="NAME", help="Benchmarks, in the suite or not. Default: the suite's.")
]
Own = Annotated[
    Path | None, typer.Option("--from", metavar="PATH", help="A file or folder that you have, instead of a download.")
]


@app.command()
def fetch(names: Names = None, config: Config = DEFAULT, benchmark: Benchmarks = None, own: Own = None) -> None:
    """Bring the raw data of benchmarks and check it: the suite's, or those named.

    Licences and terms are shown before a download. A download that was interrupted goes on; one that is done is kept.
    Where one can't be had, the others are brought all the same; the exit code is then 2.

    Examples: mola fetch; mola fetch pacs; mola fetch pacs --from PACS.zip
    """
    chosen = [*(names or []), *(benchmark or [])]
    if own is not None and len(chosen) != 1:
        raise _bad_input(f"--from: expected one benchmark to put it in, found {', '.join(chosen) or 'none'}")
    from mola.types import BadInput

    failed = []
    for name, data in _benchmarks(config, chosen):
        try:
            if own is not None:
                data.place(own)
            data.fetch()
        except BadInput as error:
            failed.append(_told(error))
            continue
        typer.echo(f"{name}: {len(data.sources)} {'sources' if len(data.sources) > 1 else 'source'} verified")
    if failed:
        typer.echo("\n".join(failed), err=True)
        raise typer.Exit(2)


@app.command()
def prepare(names: Names = None, config: Config = DEFAULT, benchmark: Benchmarks = None) -> None:
    """Turn the raw data into arrays, once; checks and repairs what is there.

    Example: mola prepare digits
    """
    for name, data in _benchmarks(config, [*(names or []), *(benchmark or [])]):
        data.fetch()
        typer.echo(f"{name}: prepared in {data.prepare()}")


@app.command()
def train(config: Config = DEFAULT, benchmark: Benchmarks = None, method: Methods = None, seed: Seeds = None) -> None:
    """Train the chosen benchmarks, methods and seeds; a record.json each.

    Finished runs are kept, interrupted ones go on where they stopped. Without -b, -m or -s: all of the suite.

    Example: mola train -c config/smoke.yaml -b digits -m mola_router -s 0
    """
    suite = _load(config)
    cells = [
        (b, m)
        for b in _chosen("benchmark", benchmark, suite.benchmarks)
        for m in _chosen("method", method, suite.methods)
    ]
    if wrong := [s for s in seed or [] if s < 0]:
        raise _bad_input(f"--seed: expected a number from 0, found {wrong[0]}")
    for other in sorted({*(seed or [])} - {*suite.seeds}):
        typer.echo(f"mola: seed {other} is none of the suite's seeds: tables leave it out", err=True)
    from mola.cells import train_cell

    with _logging():
        failed = [f"{b}/{m}: seed {s}" for b, m in cells for s in train_cell(suite, b, m, seed or suite.seeds)]
    if failed:
        typer.echo(f"mola: failed: {', '.join(failed)}; the reasons stand in record.json and log.txt", err=True)
        raise typer.Exit(1)


@app.command()
def tune(
    config: Config = DEFAULT,
    benchmark: Benchmarks = None,
    method: Methods = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin the chosen studies anew.")] = False,
) -> None:
    """Tune the chosen benchmarks and methods with equal budgets; a tuned.json each, which train then uses.

    The suite needs a section "tune" (config/tuned.yaml is an example). Every method gets the same number of finished
    trials, scored on the validation split. A study that was interrupted goes on as if it had not been; one whose
    code, settings or search space changed is refused, until --restart. Without -b or -m: all of the suite.

    Example: mola tune -c config/tuned.yaml -b digits -m mola_grad
    """
    suite = _load(config)
    cells = [
        (b, m)
        for b in _chosen("benchmark", benchmark, suite.benchmarks)
        for m in _chosen("method", method, suite.methods)
    ]
    from mola.terminal import progress
    from mola.tuning.study import tune as tune_cell

    failed = []
    with _logging(without="mola.training"):  # a line per trial, not per epoch; log.txt has both
        for b, m in cells:
            with progress(f"{b}/{m}") as on_step:
                found = tune_cell(suite, b, m, restart=restart, on_step=on_step)
            told = "no trial had a finite score" if found["value"] is None else f"{found['value']:.4f}"
            typer.echo(f"{b}/{m}: {told} after {found['finished']} trials: {_flat(found['parameters'])}")
            failed += [f"{b}/{m}"] if found["value"] is None else []
    if failed:
        typer.echo(f"mola: no trial had a finite score: {', '.join(failed)}; optuna/history.csv has reasons", err=True)
        raise typer.Exit(1)


Drafts = Annotated[bool, typer.Option("--drafts", help="Count runs of code that is in no commit, too, and say so.")]


@app.command()
def table(config: Config = DEFAULT, drafts: Drafts = False) -> None:
    """Assemble results/<suite>/tables from the records.

    Example: mola table && cat results/embedded/tables/digits.md
    """
    suite = _load(config)
    from mola.reporting.write import write_tables

    for path in write_tables(suite, drafts):
        typer.echo(path)


Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, metavar="N", help="Processes that draw. Default: one per core.")
]


@app.command()
def figures(config: Config = DEFAULT, drafts: Drafts = False, jobs: Jobs = None) -> None:
    """Draw results/<suite>/figures from the records: PNG, SVG, and each figure's numbers as CSV.

    A figure that has nothing to show is not made, and a line says what it needs.

    Example: mola figures -c config/smoke.yaml
    """
    suite = _load(config)
    from mola.reporting.figures._write import write_figures

    paths, missing = write_figures(suite, drafts, jobs or os.cpu_count() or 1)
    for line in [*map(str, paths), *missing]:
        typer.echo(line)


@app.command()
def about(config: Config = DEFAULT, drafts: Drafts = False) -> None:
    """Write results/<suite>/about.html: runs, versions, hardware, times and configuration, from the records.

    Example: mola about -c config/smoke.yaml
    """
    suite = _load(config)
    from mola.reporting.about import about as page

    path = suite.folder / "about.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(suite, config.read_text(), drafts))
    typer.echo(path)


Sides = Annotated[
    tuple[str, str] | None,
    typer.Option("--compare", metavar="A B", help="Folders of results, git revisions, or REVISION:FOLDER."),
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write the comparison there, too: .md, .html or .csv.")
]


@app.command()
def report(config: Config = DEFAULT, compare: Sides = None, out: Out = None, drafts: Drafts = False) -> None:
    """Bind tables, figures, workflow and run times into results/<suite>/report.html, one page that needs no network.

    Takes what `snakemake --cores all all` has made; run it in the folder of the Snakefile.

    With --compare instead: two suites, or one suite at two commits, side by side: scores, differences by seed, and what
    changed. A revision means the suite's own folder in that commit, so its records must be committed. Runs of a working
    tree with uncommitted changes are left out; --drafts counts them, and says so.

    Examples: mola report; mola report --compare HEAD~1 HEAD; mola report --compare results/a results/b --out both.html
    """
    if compare is None and out is not None:
        raise _bad_input("--out: expected --compare beside it; the report's place is results/<suite>/report.html")
    if compare is None and drafts:
        raise _bad_input("--drafts: expected --compare beside it; the report binds what mola table --drafts has made")
    if out is not None and out.suffix not in (".md", ".html", ".csv"):
        raise _bad_input(f"--out: expected a file that ends in .md, .html or .csv, found {out}")
    suite = _load(config)
    if compare is None:
        from mola.reporting.page import bind

        typer.echo(bind(suite, config))
        return
    from mola.reporting.compare import compare as tables_of
    from mola.reporting.render import page, several, to_markdown
    from mola.reporting.trees import tree

    one, other = (tree(side, suite.folder, drafts) for side in compare)
    tables = tables_of(one, other, list(suite.methods))
    text = "\n".join(to_markdown(table) for table in tables)
    typer.echo(text)
    if out is not None:
        forms = {".md": lambda: text, ".html": lambda: page(" and ".join(compare), tables)}
        forms[".csv"] = lambda: several({table.title: table for table in tables})
        try:
            out.write_text(forms[out.suffix]())
        except OSError as error:
            raise _bad_input(f"--out: expected a file that can be written, found {out}: {error.strerror}") from None


@app.command("list")
def list_names() -> None:
    """Show the methods, balancers and benchmarks, with their sources."""
    from mola import registry

    rooms: tuple[registry.Room, ...] = ("methods", "balancers", "benchmarks")
    for room in rooms:
        typer.echo(f"{room}:")
        for name in registry.names(room):
            summary, source = registry.describe(room, name)
            typer.echo(f"  {name:<14} {summary}")
            if source:
                typer.echo(f"  {'':<14} {source}")
            if options := registry.option_names(room, name):
                typer.echo(f"  {'':<14} options: {', '.join(options)}")


@app.command()
def status(config: Config = DEFAULT) -> None:
    """Show which runs of the suite are done, running, failed, stale (other code or settings) or still to do.

    Example: mola status -c config/smoke.yaml
    """
    suite = _load(config)
    from mola.status import state

    counts: dict[str, int] = {}
    for benchmark in suite.benchmarks:
        for label in suite.methods:
            states = {seed: state(suite, benchmark, label, seed) for seed in suite.seeds}
            typer.echo(f"{benchmark}/{label:<20} {'  '.join(f'{seed}:{told}' for seed, told in states.items())}")
            for told in states.values():
                counts[told] = counts.get(told, 0) + 1
    typer.echo(", ".join(f"{number} {told}" for told, number in sorted(counts.items())))


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
    import os

    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler reports its own comings and goings


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
    from mola.bench.cases import Setting, case_of
    from mola.bench.layers import entries

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
    from mola.bench import rivals
    from mola.bench import step as mola_steps
    from mola.bench.cases import Setting, case_of
    from mola.registry import names

    case = case_of(model, batch, size)
    setting = Setting(device, precision, channels_last, compiled)  # type: ignore[arg-type]
    balancers = list(names("balancers")) if balancer == ["all"] else balancer or []
    methods = list(names("methods")) if method == ["all"] else method or []
    if balancers or methods:
        found = rivals.entries(case, setting, tasks, balancers, methods, rivals.pairs(option or []))
    elif option:
        raise _bad_input("--option: expected --balancer or --method beside it, found neither")
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
    suite = _load(config)
    chosen = (
        _chosen("benchmark", [benchmark] if benchmark else None, suite.benchmarks)[0],
        _chosen("method", [method] if method else None, suite.methods)[0],
    )
    from mola.bench.data import rates, told

    found, on = rates(suite, *chosen, repeats)
    typer.echo(told(found))
    if file is not None:
        from dataclasses import asdict

        from mola.bench.report import surroundings

        _write(file, {**on, "repeats": repeats, **surroundings(on["device"]), "images_per_second": asdict(found)})


@bench.command()
def page(files: Annotated[list[Path], typer.Argument(metavar="FILE...")]) -> None:
    """Show what --json wrote, as Markdown tables with the bars that were met and missed.

    Example: mola bench page docs/benchmarks/*.json
    """
    from mola.bench.page import page

    typer.echo(page(files))


def main() -> None:
    """Run the command line; bad input is one line on stderr and exit code 2, never a traceback."""
    from mola.types import BadInput

    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except BadInput as error:
        _fail(str(error))
    except USAGE_ERROR as error:
        _fail(error.format_message())  # type: ignore[attr-defined]
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted; the same command goes on where this one stopped", 130)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int = 2) -> None:
    print(_told(message), file=sys.stderr)
    sys.exit(code)


def _told(message: object) -> str:
    from mola.types import one_line

    return f"mola: {one_line(message)}"


def _measured(case: Any, setting: Any, entries: Any, repeats: int, file: Path | None) -> None:
    from mola.bench.bars import held
    from mola.bench.report import as_json, compare, table

    rows = compare(entries, setting, repeats)
    bars = held(case, setting, rows)
    typer.echo("\n".join([table(rows), *bars]))
    if file is not None:
        _write(file, {**as_json(case, setting, repeats, rows), "bars": bars})


def _write(file: Path, told: dict[str, Any]) -> None:
    import json

    words = ["mola", *sys.argv[1:]]
    if "--json" in words:  # where the file lies says nothing of what is in it
        del words[words.index("--json") : words.index("--json") + 2]
    try:
        file.write_text(json.dumps({"command": " ".join(words), **told}, indent=1) + "\n")
    except OSError as error:
        raise _bad_input(f"--json: expected a file that can be written, found {file}: {error.strerror}") from None


def _flat(parameters: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for options in parameters.values() for key, value in options.items())


def _load(config: Path) -> Suite:
    from mola.config import load

    return load(config)


def _benchmarks(config: Path, chosen: list[str]) -> Iterator[tuple[str, Any]]:
    """Benchmarks by name, with the options that the suite gives them; the suite's own where none is named."""
    suite = _load(config)
    from mola import registry

    for name in chosen or suite.benchmarks:
        given = suite.benchmarks[name].options if name in suite.benchmarks else {}
        options = registry.check_options("benchmarks", name, given, f"benchmarks.{name}")
        yield name, registry.load("benchmarks", name)(suite.data, **options)


def _chosen(word: str, chosen: list[str] | None, known: Any) -> list[str]:
    from mola.registry import did_you_mean

    for name in chosen or []:
        if name not in known:
            raise _bad_input(
                f"--{word}: the suite has no {word} '{name}'{did_you_mean(name, known)}; it has {', '.join(known)}"
            )
    return chosen or list(known)


def _bad_input(message: str) -> Exception:
    from mola.types import BadInput

    return BadInput(message)


@contextmanager
def _logging(without: str | None = None) -> Iterator[None]:
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


if __name__ == "__main__":
    main()
