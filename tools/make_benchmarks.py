"""Measure what docs/benchmarks shows, and write its page: ``make benchmarks``.

``python tools/make_benchmarks.py layers-resnet18 data-digits`` measures these alone, ``--page`` nothing. Every file is
measured in a process of its own, one after the other; within each all rows run in turn, so that their ratios hold on a
machine that does other things, too. Absolute times do not.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from mola.bench.page import page

FOLDER = Path(__file__).parents[1] / "docs/benchmarks"
MARK = "These tables are written by `make benchmarks`:"
ELEVEN = "mgda pcgrad gradvac graddrop cagrad imtl_g nash_mtl aligned_mtl fairgrad upgrad db_mtl"
JACOBIAN = " ".join(f"--balancer {name}" for name in ELEVEN.split())
# file → what mola bench is called with
COMMANDS = {
    "layers-resnet50": "layers --model resnet50 --repeats 9",
    "layers-resnet18": "layers --model resnet18 -e 4 -e 32 --gate all --repeats 9",
    "layers-vit_small": "layers --model vit_small --repeats 15",
    "plans-resnet18": "layers --model resnet18 --plans --repeats 7",
    "step-resnet18": "step --model resnet18 --repeats 15",
    "step-resnet50": "step --model resnet50 --repeats 7",
    "step-balancers-t4": "step --balancer all --model resnet18 --repeats 7",
    "step-balancers-t9": f"step {JACOBIAN} -t 9 --model resnet18 --repeats 5",
    "step-one-pass-t4": f"step {JACOBIAN} -t 4 --model vit_tiny --repeats 7",
    "step-one-pass-t9": f"step {JACOBIAN} -t 9 --model vit_tiny --repeats 7",
    "step-methods-t4": "step -m mtan -m cgc -m ltb -o warmup=0 --repeats 9",
    "compare-vit_tiny": "compare --model vit_tiny --repeats 7",
    "compare-resnet18": "compare --model resnet18 --repeats 7",
    "data-digits": "data -b digits -m mola_grad --repeats 9",
    "run-digits": "run -b digits -m shared",
}


def main() -> None:
    """Measure the chosen files, or all, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(COMMANDS)}; default: all")
    parser.add_argument("--page", action="store_true", help="write the page of the files that are there")
    arguments = parser.parse_args()
    if wrong := [name for name in arguments.names if name not in COMMANDS]:
        parser.error(f"expected names of {', '.join(COMMANDS)}, found '{wrong[0]}'")
    chosen = [] if arguments.page else arguments.names or list(COMMANDS)
    for name in chosen:
        began = time.monotonic()
        print(f"mola bench {COMMANDS[name]}", flush=True)
        words = [*shlex.split(COMMANDS[name]), "--json", str(FOLDER / f"{name}.json")]
        # all cores, as a user's command has them
        environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        if code := subprocess.run([sys.executable, "-m", "mola", "bench", *words], env=environment).returncode:
            sys.exit(code)
        print(f"took {time.monotonic() - began:.0f} s\n", flush=True)
    write_page()


def write_page() -> None:
    """The tables of all files, in place of those below the mark."""
    path = FOLDER / "README.md"
    above, mark, _ = path.read_text().partition(MARK)
    if not mark:
        sys.exit(f"{path}: expected a line '{MARK}', found none")
    path.write_text(f"{above}{mark}\n\n{page(sorted(FOLDER.glob('*.json')))}\n")


if __name__ == "__main__":
    main()
