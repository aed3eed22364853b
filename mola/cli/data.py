"""``mola fetch`` and ``mola prepare``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mola.cli.common import DEFAULT, Benchmarks, Config, load_suite
from mola.types import BadInput, shown

if TYPE_CHECKING:
    from mola.config import Suite
    from mola.sections import BenchmarkEntry

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="NAME", help="Labels of the suite, or names of benchmarks. Default: all of the suite's."),
]
From = Annotated[
    Path | None, typer.Option("--from", metavar="PATH", help="A file or folder that you have, instead of a download.")
]


def fetch(names: Names = None, config: Config = DEFAULT, benchmark: Benchmarks = None, source: From = None) -> None:
    """Bring the raw data of benchmarks and check it: the suite's, or those named.

    Licences and terms are shown before a download. A download that was interrupted goes on; one that is done is kept.
    Where one can't be had, the others are brought all the same; the exit code is then 2.

    Examples: mola fetch; mola fetch pacs; mola fetch pacs --from PACS.zip
    """
    chosen = [*(names or []), *(benchmark or [])]
    if source is not None and len(chosen) != 1:
        raise BadInput(f"--from: expected one benchmark to put it in, found {', '.join(chosen) or 'none'}")
    messages = []
    for name, data in _benchmarks(load_suite(config), chosen):
        try:
            if source is not None:
                data.place(source)
            data.fetch()
        except BadInput as error:
            messages.append(f"mola: {shown(error)}")
            continue
        typer.echo(f"{name}: {data.verified()}")
    if messages:
        typer.echo("\n".join(messages), err=True)
        raise typer.Exit(2)


RenewSplit = Annotated[
    bool, typer.Option("--renew-split", help="Divide images of your own anew, as files were added, removed or changed.")
]


def prepare(
    names: Names = None, config: Config = DEFAULT, benchmark: Benchmarks = None, renew_split: RenewSplit = False
) -> None:
    """Turn the raw data into arrays, once; checks and repairs what is there.

    The first call for images of your own (image_folder, image_labels) writes how they are split; see --renew-split.
    Entries that share a split are divided anew together.

    Example: mola prepare digits
    """
    suite, chosen = load_suite(config), [*(names or []), *(benchmark or [])]
    if renew_split:
        for label, (manifest, of) in _sharing(suite, chosen).items():
            typer.echo(f"{label}: divided anew, too, as it shares {manifest} with {of}")
            chosen.append(label)
    for name, data in _benchmarks(suite, chosen):
        if renew_split and (chosen or data.divides_by_itself):
            data.renew_splits()
        data.fetch()
        if path := _split_written(data):
            typer.echo(f"{name}: its split is written to {path}, and is part of every run's fingerprint: commit it")
        typer.echo(f"{name}: prepared in {data.prepare()}")


Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Default: <data>/NAME.croissant.json.")]


def croissant(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Label of the suite, or name of a benchmark.")],
    config: Config = DEFAULT,
    out: Out = None,
) -> None:
    """Describe a benchmark as a Croissant file: splits, sources, licences and, once they are prepared, its arrays.

    Example: mola croissant digits
    """
    suite = load_suite(config)
    from mola.data.croissant import write_croissant

    entries = list(_benchmarks(suite, [name]))
    if len(entries) > 1:
        labels = ", ".join(label for label, _ in entries)
        raise BadInput(f"NAME: expected one entry of the suite, found '{name}', which is several: {labels}")
    path = out or suite.data / f"{name}.croissant.json"
    try:
        write_croissant(entries[0][1], path)
    except OSError as error:
        raise BadInput(f"--out: expected a file that can be written, found {path}: {error.strerror}") from None
    typer.echo(path)


def _sharing(suite: Suite, chosen: list[str]) -> dict[str, tuple[str, str]]:
    """Entries that are not chosen, but whose manifest is that of one which is: label → manifest, label of that."""
    named = {label: entry for word in chosen for label, entry in _entries(suite, word).items()}
    manifests = {str(entry.options["manifest"]): label for label, entry in named.items() if "manifest" in entry.options}
    others = {
        label: str(entry.options["manifest"])
        for label, entry in suite.benchmarks.items()
        if label not in named and "manifest" in entry.options
    }
    return {label: (path, manifests[path]) for label, path in others.items() if path in manifests}


def _split_written(data: Any) -> Path | None:
    """Write the split manifest of a benchmark of the user's own, where there is none; None: there is one."""
    from mola import registry
    from mola.data.splits.manifest import manifest_path

    is_plugin = data.name in registry.names("benchmarks") and registry.plugin("benchmarks", data.name) is not None
    if not is_plugin or not hasattr(data, "write_manifest") or manifest_path(data.name).is_file():
        return None
    path: Path = data.write_manifest()
    return path


def _benchmarks(suite: Suite, chosen: list[str]) -> Iterator[tuple[str, Any]]:
    """The data of some benchmarks, by label or name, as the suite wants it; of the suite's own where none is chosen.

    Entries that share their prepared arrays come once: ``digits_25, digits_50`` and the benchmark.
    """
    from mola import registry

    labels: dict[str, list[str]] = {}
    data: dict[str, tuple[str, dict[str, Any]]] = {}
    for label, entry in (pair for word in chosen or suite.benchmarks for pair in _entries(suite, word).items()):
        name = entry.benchmark or label
        options = registry.check_options("benchmarks", name, entry.options, f"benchmarks.{label}")
        key = json.dumps([name, entry.data_options], sort_keys=True)
        labels.setdefault(key, []).append(label)
        data.setdefault(key, (name, options))
    for key, (name, options) in data.items():
        yield ", ".join(dict.fromkeys(labels[key])), registry.create("benchmarks", name, suite.data, options=options)


def _entries(suite: Suite, word: str) -> dict[str, BenchmarkEntry]:
    """The entries that a word stands for, by label: that of this label, or all of the benchmark of this name, of which
    the suite may have none.
    """
    from mola.sections import BenchmarkEntry

    if word in suite.benchmarks:
        return {word: suite.benchmarks[word]}
    named = {label: entry for label, entry in suite.benchmarks.items() if suite.benchmark_name(label) == word}
    return named or {word: BenchmarkEntry()}
