"""``results/<suite>/report.html``: Snakemake's own report, which holds every table and figure in itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from mola.config import Suite
from mola.types import BadInput

SNAKEFILE, STYLE = Path("Snakefile"), Path("workflow/report/style.css")


def bind(suite: Suite, config: Path) -> Path:
    """Have Snakemake write the report of what is there; nothing is computed. Where jobs did not run in this folder, as
    in a clone, its statistics lack them, and nothing else.

    Raises BadInput where there is no workflow here, and where something is missing.
    """
    if not SNAKEFILE.is_file():
        raise BadInput(f"report: expected to run in the folder of the Snakefile, found none in {Path.cwd()}")
    if missing := [path for path in (suite.folder / "figures", suite.folder / "about.html") if not path.exists()]:
        told = f"expected results to show, found no {', '.join(map(str, missing))}"
        raise BadInput(f"report: {told}; snakemake --cores all all --configfile {config} first")
    path, temporary = suite.folder / "report.html", suite.folder / "report.tmp.html"
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", "--configfile", str(config)]
    command += ["--report", str(temporary), "--report-stylesheet", str(STYLE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not temporary.is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise BadInput(f"report: Snakemake could not write it: {' '.join(lines[-3:]) or 'no reason given'}")
    temporary.replace(path)
    return path
