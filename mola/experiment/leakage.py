"""Weights whose pretraining saw what a benchmark tests are refused for it, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mola import pretrained, registry
from mola.sections import Settings
from mola.types import BadInput


def check_leakage(settings: Settings, data: Path) -> None:
    """Raise BadInput where a file of weights says that its pretraining saw test images of the settings' benchmark.

    An entry of the file's ``saw`` concerns the benchmark that it names, and every other one that shares a source of
    data with that; as ``<benchmark>.<task>`` that benchmark alone; as the name of a source all that read it.
    """
    for key, file in settings.weights_files.items():
        for entry in pretrained.saw(file):
            if _concerns(entry, settings, data):
                name = "tiny" if file == pretrained.TINY else file
                raise BadInput(
                    f"{key}: {name} saw test images of '{entry}' in its pretraining; "
                    f"expected weights that saw none of what '{settings.benchmark}' tests"
                )


def _concerns(entry: str, settings: Settings, data: Path) -> bool:
    name, _, task = entry.partition(".")
    if name == settings.benchmark:
        return True
    sources = _sources(settings.benchmark, data, settings.benchmark_options)
    if name in sources:
        return True
    return not task and name in registry.names("benchmarks") and bool(sources & _sources(name, data, {}))


def _sources(benchmark: str, data: Path, options: Mapping[str, object]) -> set[str]:
    return {source.name for source in registry.create("benchmarks", benchmark, data, options=options).sources}
