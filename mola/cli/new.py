"""``mola new``: skeletons of methods, balancers, benchmarks and suites that train at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mola.cli.next_steps import next_steps
from mola.types import BadInput

if TYPE_CHECKING:
    from mola.registry import Kind

SKELETONS = Path(__file__).parent.parent / "skeletons"
# as PEP 8 has names of modules
MODULE = r"[a-z][a-z0-9_]*"

new = typer.Typer(help="Write a commented skeleton that trains at once, into the working folder.")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name, in lower case; words are joined by _.")]
SuiteName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the suite and of its file, NAME.yaml.")]


@new.command()
def method(name: Name) -> None:
    """Write methods/NAME.py: a low-rank method that states its gate, with an option.

    Example: mola new method colour_gate
    """
    _write_part("methods", name, f"methods: {{{name}: }}")


@new.command()
def balancer(name: Name) -> None:
    """Write balancers/NAME.py: a weight for each task's loss, with an option.

    Example: mola new balancer larger_first
    """
    _write_part("balancers", name, f"balancer: {name}")


@new.command()
def benchmark(name: Name) -> None:
    """Write benchmarks/NAME.py: two domains that are drawn. mola prepare writes its split beside it.

    Example: mola new benchmark stripes
    """
    _write_part("benchmarks", name, f"benchmarks: {{{name}: }}")


From = Annotated[
    Path | None,
    typer.Option(
        "--from", metavar="PATH", help="Images of your own: a folder <domain>/<class>/<image>, or a CSV list."
    ),
]
Estimate = Annotated[
    bool, typer.Option("--estimate/--no-estimate", help="With --from: also measure how long the suite will take.")
]


@new.command()
def suite(name: SuiteName, source: From = None, estimate: Estimate = True) -> None:
    """Write NAME.yaml: a suite on digits, with what the working folder has of methods, balancers and benchmarks.

    With --from: a suite that answers whether to pool images of several sources, to keep them apart, or to take mixtures
    of adapters. It looks at every image, says what it finds, splits and prepares them, and measures how long the suite
    will take. A list without the columns task and label is one of several labels for each image: it says which columns
    look like tasks. Images that can't be used are named, and nothing is written.

    Examples: mola new suite mine; mola new suite shop --from photos
    """
    from mola.plain import check_label

    check_label(name, "name")
    if source is not None:
        _suite_of_images(name, source, estimate)
        return
    write_new(Path(f"{name}.yaml"), suite_text(name, f"{name}.yaml", Path()))
    own_parts = any(any(_nearby(kind, Path())) for kind in ("methods", "balancers", "benchmarks"))
    typer.echo(next_steps(Path(f"{name}.yaml"), own_parts))


def suite_text(name: str, file: str, folder: Path) -> str:
    """A suite on digits, with what a folder has of methods, balancers and benchmarks.

    file: how commands name its file.
    """
    text = (SKELETONS / "suite.yaml.txt").read_text().replace("NAME.yaml", file).replace("NAME", name)
    rows = [f"  {one}:" for one in _nearby("methods", folder)]
    rows += [f"  shared_{one}: {{method: shared, balancer: {one}}}" for one in _nearby("balancers", folder)]
    benchmarks = [f"  {one}: {{limit: 16}}" for one in _nearby("benchmarks", folder)]
    return _filled(_filled(text, "METHODS", rows), "BENCHMARKS", benchmarks)


def _suite_of_images(name: str, source: Path, estimated: bool) -> None:
    from mola.cli.common import load_suite
    from mola.cli.estimate import estimate
    from mola.cli.own_images import choose, configuration, has_gpu, look

    path = Path(f"{name}.yaml")
    if path.exists():
        raise BadInput(f"{path}: expected a new file, found one; it is left as it is")
    images = look(source)
    for line in images.lines:
        typer.echo(line)
    write_new(path, configuration(name, images, choose(has_gpu())))
    (entry,) = load_suite(path).benchmarks
    if estimated:
        from mola.cli.data import prepare
        from mola.training.stopping import Stopped

        try:
            prepare(None, path, [entry])
            estimate(path)
        except (KeyboardInterrupt, Stopped):
            # the suite is there, so that this command would not go on
            typer.echo(next_steps(path, tuned=True))
            raise
    typer.echo(next_steps(path, prepared=estimated, tuned=True))


def _write_part(kind: Kind, name: str, entry: str) -> None:
    from mola import registry

    if not re.fullmatch(MODULE, name):
        raise BadInput(f"NAME: expected a letter, then letters, digits and _, all in lower case, found '{name}'")
    registry.look_in(None)
    if name in registry.names(kind):
        plugin = registry.plugin(kind, name)
        raise BadInput(f"NAME: expected a new name, found {name}, which is {plugin.origin if plugin else 'built in'}")
    title = "".join(word.capitalize() for word in name.split("_"))
    text = (SKELETONS / f"{kind[:-1]}.py.txt").read_text().replace("NAME", name).replace("CLASS(", f"{title}(")
    write_new(Path(kind, f"{name}.py"), text)
    typer.echo(f"next: name it in a suite of this folder, {entry}; then: mola check SUITE.yaml")


def write_new(path: Path, text: str) -> None:
    """Write a new file. Raises BadInput where there is one, or none can be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise BadInput(f"{path}: expected a new file, found one; it is left as it is") from None
    except OSError as error:
        raise BadInput(f"{path}: expected a file that can be written, found: {error.strerror}") from None
    typer.echo(path)


def _nearby(kind: Kind, folder: Path) -> Iterator[str]:
    """What a folder has of a kind."""
    return (path.stem for path in sorted((folder / kind).glob("*.py")) if not path.stem.startswith("_"))


def _filled(text: str, mark: str, lines: list[str]) -> str:
    return text.replace(f"{mark}\n", "".join(f"{line}\n" for line in lines) + ("\n" if mark == "BENCHMARKS" else ""))
