"""``results/<suite>/workflow.html``: Snakemake's own report: the graph of the workflow, and the times of jobs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from mola.config import Suite
from mola.files import write
from mola.shipped import WORKFLOW
from mola.types import BadInput, one_line

SNAKEFILE, STYLE = Path("Snakefile"), WORKFLOW / "report" / "style.css"


def lacks(suite: Suite) -> str | None:
    """Why Snakemake has nothing to report here; None where it has."""
    if find_spec("snakemake") is None:
        return "snakemake is not installed"
    if not SNAKEFILE.is_file():
        return f"no Snakefile in {Path.cwd()}"
    missing = [path for path in (suite.folder / "figures", suite.folder / "about.html") if not path.exists()]
    return f"no {', '.join(map(str, missing))}" if missing else None


def write_workflow(suite: Suite, config: Path) -> Path:
    """Have Snakemake write the report of what is there; nothing is computed. Where jobs did not run in this folder, as
    in a clone, its statistics lack them, and nothing else.

    Raises BadInput where Snakemake does not.
    """
    path = suite.folder / "workflow.html"
    with TemporaryDirectory() as folder:
        # Snakemake takes no other ending, so that it can't write to the file that is renamed
        html = Path(folder) / path.name
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", "--configfile", str(config)]
        command += ["--report", str(html), "--report-stylesheet", str(STYLE)]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode or not html.is_file():
            lines = [line for line in process.stderr.splitlines() if line.strip()]
            raise BadInput(one_line(f"Snakemake could not: {' '.join(lines[-3:]) or 'no reason given'}"))
        write(path, lambda temporary: shutil.copyfile(html, temporary))
    return path
