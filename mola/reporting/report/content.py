"""All that the page says, from records, tables and figures; the template decides how it looks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from mola.config import Suite
from mola.reporting.figures._source import Source
from mola.reporting.figures._style import COLOURS, ON_DARK
from mola.reporting.pages.about import surroundings
from mola.reporting.report.gains import panel
from mola.reporting.report.grids import Grid, Link, grid
from mola.reporting.report.measures import measures
from mola.reporting.report.pictures import pictures
from mola.reporting.report.places import Places, places_of
from mola.reporting.report.sheets import sheets
from mola.reporting.report.verdicts import cards, question, tally, verdicts
from mola.reporting.results.read import Results
from mola.reporting.tables.layout import Column, Table

# bytes of the whole page
MOST = 5_000_000
# what is kept free of them: pictures are measured before the page is put together
SPARE = 20_000


def page(
    suite: Suite,
    config: Path,
    benchmarks: Mapping[str, Results],
    tables: Mapping[str, Table],
    workflow: bool,
) -> str:
    """HTML that asks for nothing outside itself.

    config:   the suite's file.
    tables:   of ``mola.reporting.write.tables``.
    workflow: whether Snakemake's own report will lie beside the page.
    """
    places, sources = places_of(suite), [Source(suite, name, results) for name, results in benchmarks.items()]
    text = config.read_text(encoding="utf-8")
    about = _overview(suite, benchmarks, tables) | {
        "legend": places.legend,
        "colours": COLOURS,
        "on_dark": ON_DARK,
        "summary": grid(tables["summary"], _to_runs(places)),
        "panels": [shown for source in sources if (shown := panel(source, places))],
        "measures": measures(sources, places),
        "parts_of": [_part(source, places, tables) for source in sources],
        "together": grid(tables["summary.tests"], lambda column, row: None) if len(benchmarks) > 1 else None,
        "sheets": [sheet for source in sources for sheet in sheets(source, places, config)],
        "configuration": text,
        "workflow": workflow,
    }
    environment = Environment(
        loader=PackageLoader("mola.reporting.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    template = environment.get_template("page.html")
    # what the page weighs without figures decides how many it can hold
    none: Mapping[str, Any] = {name: [] for name in (*benchmarks, "summary")}
    free_bytes = MOST - SPARE - len(template.render(about, pictures=none).encode())
    # captions of figures are written for the content of the suite's file
    held = pictures(suite.folder / "figures", [*none], yaml.safe_load(text), free_bytes)
    return template.render(about, pictures=held)


def _overview(suite: Suite, benchmarks: Mapping[str, Results], tables: Mapping[str, Table]) -> dict[str, Any]:
    rows = [row for results in benchmarks.values() for row in results.rows]
    records = [record for row in rows for record in row.records.values()]
    judged = verdicts(suite, benchmarks)
    return {
        "suite": suite.suite,
        "question": question(suite),
        "tally": tally(judged, suite.answers),
        "answers": list(suite.answers),
        "cards": cards(suite, benchmarks, tables, judged),
        "numbers": {"benchmarks": len(benchmarks), "rows": len(suite.methods), "seeds": len(suite.seeds)},
        "finished": len(records),
        "asked": len(rows) * len(suite.seeds),
        "hours": sum(epoch.train_seconds for record in records for epoch in record.curve) / 3600,
        "surroundings": surroundings(records),
    }


def _part(source: Source, places: Places, tables: Mapping[str, Table]) -> dict[str, Any]:
    """What there is of one benchmark."""
    name = source.benchmark

    def to_runs(column: Column, row: str) -> str:
        return places.runs(name, row)

    def to_none(column: Column, row: str) -> None:
        return None

    grids: list[Grid] = [grid(tables[name], to_runs), grid(tables[f"{name}.tests"], to_runs)]
    if f"{name}.answer" in tables:
        grids.append(grid(tables[f"{name}.answer"], to_none))
    return {"name": name, "id": places.benchmark(name), "tasks": [task.name for task in source.tasks], "grids": grids}


def _to_runs(places: Places) -> Link:
    """From a cell of the summary to the runs of its benchmark, the longest whose label its column's key begins with."""

    def link(column: Column, row: str) -> str | None:
        of = [name for name in places.benchmarks if column.key.startswith(f"{name.replace(' ', '_')}_")]
        return places.runs(max(of, key=len), row) if of else None

    return link
