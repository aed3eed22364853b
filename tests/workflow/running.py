"""Snakemake for real, in a copy of the repository: what the workflow's tests share."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent.parent
TINY = {
    "suite": "tiny",
    "seeds": 1,
    "reference": None,
    "benchmarks": {"digits": {"limit": 16}},
    "training": {"epochs": 1, "batch_size": 16, "lr": 0.002},
    "backbone": {"name": "test_resnet"},
}
PAGES = {"table": 1, "figures": 1, "about": 1}  # what is made of records


def copied_tree(copy: Path) -> Path:
    """The tree as it is now, without results."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if not name.startswith("results/") and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


def write_suite(repository, **changes) -> Path:
    path = repository / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, **changes}, sort_keys=False))
    return path


def environment(repository) -> dict[str, str]:
    """The copy's package, and this environment's programs."""
    programs = str(Path(sys.executable).parent)
    return os.environ | {
        "PYTHONPATH": str(repository),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }


def snakemake(repository, *words, check=True):
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *words, "all", "--configfile", "tiny.yaml"]
    done = subprocess.run(
        command, cwd=repository, env=environment(repository), capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    if check:
        assert done.returncode == 0, output
    return done.returncode, output


def planned(repository) -> dict[str, int]:
    """Rule → jobs of a dry run."""
    _, output = snakemake(repository, "-n", "--quiet")
    return {
        name: int(number) for name, number in re.findall(r"^(\w+) +(\d+)$", output, re.MULTILINE) if name != "total"
    }


def code_of(document: str, language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", (ROOT / "docs" / document).read_text(), re.DOTALL)[1]
