"""``mola table``, ``figures``, ``about``, ``report`` and ``list``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mola.cli.common import DEFAULT, Config, Drafts, load_suite, write_file
from mola.files import write_text
from mola.types import BadInput

if TYPE_CHECKING:
    from mola.config import Suite
    from mola.registry import Kind


def table(config: Config = DEFAULT, drafts: Drafts = False) -> None:
    """Assemble results/<suite>/tables from the records.

    Example: mola table && cat results/embedded/tables/digits.md
    """
    suite = load_suite(config)
    from mola.reporting.write import write_tables

    for path in write_tables(suite, drafts):
        typer.echo(path)


Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, metavar="N", help="Processes that draw. Default: one per core.")
]


def figures(config: Config = DEFAULT, drafts: Drafts = False, jobs: Jobs = None) -> None:
    """Draw results/<suite>/figures from the records: PNG, SVG, and each figure's numbers as CSV.

    A figure that has nothing to show is not made, and a line says what it needs.

    Example: mola figures -c config/smoke.yaml
    """
    suite = load_suite(config)
    from mola.reporting.figures._write import write_figures

    paths, missing = write_figures(suite, drafts, jobs or os.cpu_count() or 1)
    for line in [*map(str, paths), *missing]:
        typer.echo(line)


def about(config: Config = DEFAULT, drafts: Drafts = False) -> None:
    """Write results/<suite>/about.html: runs, versions, hardware, times and configuration, from the records.

    Example: mola about -c config/smoke.yaml
    """
    suite = load_suite(config)
    from mola.reporting.pages.about import about as page

    path = suite.folder / "about.html"
    write_text(path, page(suite, config.read_text(), drafts))
    typer.echo(path)


Sides = Annotated[
    tuple[str, str] | None,
    typer.Option("--compare", metavar="A B", help="Folders of results, git revisions, or REVISION:FOLDER."),
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write the comparison there, too: .md, .html or .csv.")
]


Crate = Annotated[
    bool, typer.Option("--crate", help="Also describe the suite's folder as an RO-Crate: ro-crate-metadata.json.")
]


def report(
    config: Config = DEFAULT, compare: Sides = None, out: Out = None, drafts: Drafts = False, crate: Crate = False
) -> None:
    """Write results/<suite>/report.html, one page that answers and needs no network; says the answers here, too.

    The page shows the records that count, and the figures that are there: mola figures draws them. Beside it goes
    Snakemake's own report, workflow.html, in the folder of a Snakefile that has made the suite.

    With --compare instead: two suites, or one suite at two commits, side by side: scores, differences by seed, and what
    changed. A revision means the suite's own folder in that commit, so its records must be committed. Runs of a working
    tree with uncommitted changes are left out; --drafts counts them, and says so.

    Examples: mola report; mola report --compare HEAD~1 HEAD; mola report --compare results/a results/b --out both.html
    """
    if compare is None and out is not None:
        raise BadInput("--out: expected --compare with it; the report's place is results/<suite>/report.html")
    if compare is None and drafts:
        raise BadInput("--drafts: expected --compare with it; the page shows what counts")
    if compare is not None and crate:
        raise BadInput("--crate: expected the report of one suite, found --compare with it")
    if out is not None and out.suffix not in (".md", ".html", ".csv"):
        raise BadInput(f"--out: expected a file that ends in .md, .html or .csv, found {out}")
    suite = load_suite(config)
    if compare is None:
        _write_pages(suite, config, crate)
        return
    from mola.reporting.render import several, tables_page, to_markdown
    from mola.reporting.results.snapshots import snapshot
    from mola.reporting.tables.compare import compare as tables_of

    one, other = (snapshot(side, suite.folder, drafts) for side in compare)
    tables = tables_of(one, other, list(suite.methods))
    text = "\n".join(to_markdown(table) for table in tables)
    typer.echo(text)
    if out is not None:
        forms = {".md": lambda: text, ".html": lambda: tables_page(" and ".join(compare), tables)}
        forms[".csv"] = lambda: several({table.title: table for table in tables})
        write_file(out, forms[out.suffix](), "--out")


def _write_pages(suite: Suite, config: Path, crate: bool) -> None:
    """Snakemake's report first: the page leads to it where it could be written, and answers where it could not. The
    crate last: it describes both.
    """
    from mola.reporting.pages.workflow import lacks, write_workflow
    from mola.reporting.report.write import write_page
    from mola.reporting.results.read import read_results
    from mola.reporting.tables.answer import in_words

    benchmarks, workflow, reason = read_results(suite), None, lacks(suite)
    if reason is None:
        try:
            workflow = write_workflow(suite, config)
        except BadInput as error:
            reason = str(error)
    path = write_page(suite, config, benchmarks, workflow=workflow is not None)
    described = None
    if crate:
        from mola.reporting.pages.crate import write_crate

        described = write_crate(suite, benchmarks)
    for line in (*in_words(benchmarks, suite.answers), path, workflow, described):
        if line is not None:
            typer.echo(line)
    if reason:
        typer.echo(f"mola: workflow.html, Snakemake's own report, is not written: {reason}", err=True)


Beside = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Also what lies beside this configuration.")
]


def list_names(config: Beside = None) -> None:
    """Show the methods, balancers and benchmarks, with where they come from, their sources and options.

    Those of your own lie in methods/, balancers/ and benchmarks/ beside a configuration, or in installed packages.

    Example: mola list -c my.yaml
    """
    from mola import registry

    if config is not None:
        from mola.config import plugins_folder

        registry.look_in(plugins_folder(config))
    for kind in registry.KINDS:
        typer.echo(f"{kind}:")
        names = registry.names(kind)
        width = max(map(len, names))
        for name in names:
            for number, line in enumerate(_described(kind, name)):
                typer.echo(f"  {'' if number else name:<{width}}  {line}")


def _described(kind: Kind, name: str) -> list[str]:
    """What a name stands for, a line each; of one that can't be read, why."""
    from mola import registry

    try:
        plugin = registry.plugin(kind, name)
        summary, source = registry.describe(kind, name)
        options = ", ".join(registry.option_names(kind, name))
    except BadInput as error:
        return [f"can't be used: {error}"]
    origin = f"from {plugin.origin}" if plugin else "built in"
    return [line for line in (summary, source, f"options: {options}" if options else "", origin) if line]
