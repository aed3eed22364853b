"""``mola init``: a project of one's own around the installed package."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

import mola
from mola.cli.new import SKELETONS, suite_text, write_new
from mola.shipped import PROFILES, SUITES
from mola.types import BadInput

CONFIG = "config/config.yaml"
# parts of the user's own lie in the project's folder, and not beside its suites
PLUGINS = "plugins: .                # methods/, balancers/ and benchmarks/ of your own lie in the project's folder\n"

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The project's folder; its name becomes the suite's.")]
SuiteOption = Annotated[
    str | None,
    typer.Option("--suite", metavar="NAME", help="Begin with a suite of the package: smoke, pacs, paper, …"),
]


def init(folder: Folder, suite: SuiteOption = None) -> None:
    """Lay out a working project: Snakefile, dvc.yaml, a suite, a README. No file that is there is overwritten.

    The suite is small, on data that comes in packages; --suite takes one of the package instead. What your folder has
    of methods, balancers and benchmarks becomes part of the small one.

    Examples: mola init shop; mola init faces --suite pacs
    """
    files = _files(folder, suite)
    if taken := [folder / name for name in files if (folder / name).exists()]:
        raise BadInput(f"{taken[0]}: expected a new file, found one; nothing was written")
    for name, text in files.items():
        write_new(folder / name, text)
    typer.echo(f"next: cd {folder}; snakemake --cores all all; mola report")


def _files(folder: Path, suite: str | None) -> dict[str, str]:
    """Path in the project → text."""
    cited = {}
    if suite is None:
        name = _suite_name(folder)
        text = suite_text(name, CONFIG, folder)
    else:
        text = _shipped(suite)
        name = re.findall(r"^suite: *([\w.+-]+)", text, re.MULTILINE)[0]
        # a suite may cite published numbers
        cited = {path: (SUITES.parent / path).read_text() for path in re.findall(r"config/cited/[\w.-]+", text)}
    project = SKELETONS / "project"
    return {
        "Snakefile": (project / "Snakefile.txt").read_text(),
        CONFIG: re.sub(r"(?m)^(suite: .*\n)", rf"\g<1>{PLUGINS}", text, count=1),
        **cited,
        "profiles/default/config.yaml": (PROFILES / "default" / "config.yaml").read_text(),
        "dvc.yaml": (project / "dvc.yaml.txt").read_text().replace("NAME", name),
        "README.md": re.sub(r"\bNAME\b", name, (project / "README.md.txt").read_text()).replace(
            "VERSION", mola.__version__
        ),
        ".gitignore": (project / "gitignore.txt").read_text(),
        ".dvcignore": (project / "dvcignore.txt").read_text(),
    }


def _suite_name(folder: Path) -> str:
    from mola.plain import check_label

    name = folder.resolve().name
    check_label(name, "FOLDER")
    return name


def _shipped(suite: str) -> str:
    known = sorted(path.stem for path in SUITES.glob("*.yaml"))
    if suite not in known:
        raise BadInput(f"--suite: expected one of {', '.join(known)}, found '{suite}'")
    return (SUITES / f"{suite}.yaml").read_text()
