"""``results/<suite>/report.html``: Snakemake's own report, which holds every table and figure in itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from mola.config import Suite
from mola.extras import needs
from mola.files import write
from mola.shipped import WORKFLOW
from mola.types import BadInput

HERE = Path("Snakefile")
SNAKEFILE, STYLE = WORKFLOW / "Snakefile", WORKFLOW / "report" / "style.css"


def write_report(suite: Suite, config: Path) -> Path:
    """Have Snakemake write the report of what is there; nothing is computed. Where jobs did not run in this folder, as
    in a clone, its statistics lack them, and nothing else.

    The workflow is the one of the Snakefile here, or else the package's. Raises BadInput where something is missing.
    """
    if find_spec("snakemake") is None:
        raise BadInput(needs("mola report", "snakemake"))
    if missing := [path for path in (suite.folder / "figures", suite.folder / "about.html") if not path.exists()]:
        message = f"expected results to show, found no {', '.join(map(str, missing))}"
        raise BadInput(f"report: {message}; snakemake --cores all all --configfile {config} first")
    path = suite.folder / "report.html"
    with TemporaryDirectory() as folder:
        # Snakemake takes no other ending, so that it can't write to the file that is renamed
        html = Path(folder) / path.name
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock"]
        command += ["--snakefile", str(HERE if HERE.is_file() else SNAKEFILE), "--configfile", str(config)]
        command += ["--report", str(html), "--report-stylesheet", str(STYLE)]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode or not html.is_file():
            lines = [line for line in process.stderr.splitlines() if line.strip()]
            raise BadInput(f"report: Snakemake could not write it: {' '.join(lines[-3:]) or 'no reason given'}")
        write(path, lambda temporary: shutil.copyfile(html, temporary))
    return path
