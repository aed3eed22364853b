"""Write ``results/<suite>/report.html``, and Snakemake's own report beside it."""

from __future__ import annotations

from pathlib import Path

from mola.config import Suite
from mola.files import write_text
from mola.reporting.report.content import page
from mola.reporting.results.read import Results
from mola.reporting.write import tables
from mola.types import BadInput


def write_page(suite: Suite, config: Path, benchmarks: dict[str, Results], workflow: bool) -> Path:
    """Write the page of what the records say, and the figures that are there. Raises BadInput where no run is finished.

    workflow: whether ``workflow.html`` will lie beside it.
    """
    if not any(row.records for results in benchmarks.values() for row in results.rows):
        message = f"expected results to show, found no finished run in {suite.folder}"
        raise BadInput(f"report: {message}; snakemake --cores all all --configfile {config} first")
    path = suite.folder / "report.html"
    write_text(path, page(suite, config, benchmarks, tables(suite, benchmarks), workflow))
    return path
