"""Weights whose pretraining saw what a benchmark tests are refused for it, before anything is written."""

from __future__ import annotations

import difflib
import json
from functools import cache
from pathlib import Path

from mola import pretrained, registry
from mola.sections import Settings
from mola.types import BadInput, Source

# what begins an entry of ``saw`` for data that no benchmark reads
OTHER = "other:"
# two names that are so much alike (difflib's ratio) and differ so little in length are one, misspelt: "imagenet" is no
# "radimagenet"
ALIKE, LONGER = 0.8, 2


def check_leakage(settings: Settings, data: Path) -> None:
    """Raise BadInput where a file of weights says that its pretraining saw test images of the settings' benchmark, and
    for an entry that seems to name a benchmark, a task or a source and names none.

    An entry of the file's ``saw`` concerns the benchmark that it names, and every other one that shares a source of
    data with that; as ``<benchmark>.<task>`` that benchmark alone; as the name of a source all that read it. A package
    of the file's ``trained_on`` concerns all benchmarks that are drawn from it.
    """
    for key, file in settings.weights_files.items():
        name = "tiny" if file == pretrained.TINY else file
        for entry in pretrained.saw(file):
            if _concerns(entry, settings, data):
                raise BadInput(
                    f"{key}: {name} saw test images of '{entry}' in its pretraining; "
                    f"expected weights that saw none of what '{settings.benchmark}' tests"
                )
            if wrong := _misspelt(entry, data):
                raise BadInput(f"{key}: {name} saw '{entry}', {wrong}")
        if packages := _trained_on(file) & _packages(settings, data):
            raise BadInput(
                f"{key}: {name} was trained on '{min(packages)}', from which '{settings.benchmark}' is drawn; "
                "expected weights that saw none of what it tests"
            )


def _concerns(entry: str, settings: Settings, data: Path) -> bool:
    name, _, task = entry.partition(".")
    if name == settings.benchmark:
        return True
    sources = {source.name for source in _sources(settings, data)}
    if name in sources:
        return True
    return not task and name in registry.names("benchmarks") and bool(sources & _names(data)[name][1])


def _misspelt(entry: str, data: Path) -> str | None:
    """What is wrong with an entry; None for a name that exists, and for data that no benchmark reads."""
    benchmark, _, task = entry.partition(".")
    if entry in registry.names("benchmarks") or entry.startswith(OTHER):
        return None
    names = _names(data)
    if benchmark in names and task not in names[benchmark][0]:
        tasks = names[benchmark][0]
        return f"which is no task of it{registry.did_you_mean(task, tasks)}; it has {', '.join(tasks)}"
    every = {name for both in names.values() for name in both[1]} | {*names}
    every |= {f"{name}.{task}" for name, (tasks, _) in names.items() for task in tasks}
    near = [name for name in difflib.get_close_matches(entry, every, cutoff=ALIKE) if _as_long(name, entry)]
    if entry in every or not near:
        return None
    return f"which no benchmark has, did you mean '{near[0]}'? For other data write '{OTHER}{entry}'"


def _as_long(one: str, other: str) -> bool:
    return abs(len(one) - len(other)) <= LONGER


def _trained_on(file: Path) -> set[str]:
    """The names in the metadata key ``trained_on``, a JSON list of ``{"name": …}``; none where it is another text."""
    try:
        entries = json.loads(pretrained.metadata(file).get("trained_on", "[]"))
        return {str(entry["name"]) for entry in entries}
    except (ValueError, TypeError, KeyError):
        return set()


def _packages(settings: Settings, data: Path) -> set[str]:
    """The words of the origins of a benchmark's data, the names of packages among them."""
    return {word.strip(":;,()") for source in _sources(settings, data) for word in source.origin.split()}


def _sources(settings: Settings, data: Path) -> tuple[Source, ...]:
    options = settings.benchmark_options
    sources: tuple[Source, ...] = registry.create("benchmarks", settings.benchmark, data, options=options).sources
    return sources


@cache
def _names(data: Path) -> dict[str, tuple[tuple[str, ...], frozenset[str]]]:
    """Every benchmark → the names of its tasks and of its sources, with default options."""
    names = {}
    for name in registry.names("benchmarks"):
        benchmark = registry.create("benchmarks", name, data, options={})
        sources = frozenset(source.name for source in benchmark.sources)
        names[name] = tuple(task.name for task in benchmark.tasks), sources
    return names
