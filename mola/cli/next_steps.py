"""What to do once a suite is written, in order, as commands of where the user is."""

from __future__ import annotations

import shlex
from pathlib import Path

from mola.source import ROOT


def next_steps(path: Path, own_parts: bool = False, prepared: bool = False, tuned: bool = False) -> str:
    """Lines with a command each, and what it does.

    path: the suite's file. own_parts: whether it names methods, balancers or benchmarks of the user's.
    prepared: whether its data are, and the time that it takes is measured. tuned: whether it tunes.
    """
    steps = [] if prepared else [(f"mola prepare -c {path}", "brings and prepares the data")]
    if own_parts:
        steps.append((f"mola check {path}", "tests the parts of your own"))
    if not prepared:
        steps.append((f"mola estimate -c {path}", "how long all of it will take"))
    steps.append((computing(path, tuned), "computes it; a run that was interrupted goes on"))
    steps.append((f"mola report -c {path}", "one page with all of it"))
    return "\n".join(["next, in this order:", *(f"  {command}   # {purpose}" for command, purpose in steps)])


def computing(path: Path, tuned: bool) -> str:
    """The command that computes a suite, with Snakemake where there is a workflow."""
    if not Path("Snakefile").is_file() and not (ROOT / "Snakefile").is_file():
        tuning = f"mola tune -c {path} && " if tuned else ""
        return f"{tuning}mola train -c {path} && mola table -c {path}"
    where = "" if Path("Snakefile").is_file() else f"--snakefile {shlex.quote(str(ROOT / 'Snakefile'))} "
    return f"snakemake {where}--cores all all --configfile {path}"
