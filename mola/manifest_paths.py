"""Which file fixes the split of images that lie with the user: one beside the suite's configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mola import registry
from mola.sections import BenchmarkEntry


def with_paths(benchmarks: Mapping[str, BenchmarkEntry], file: Path) -> dict[str, BenchmarkEntry]:
    """The entries, each of which names a split manifest where it needs one of the user: without another it is
    ``<file>.<label>.splits.json``, by the first label of those that are split alike.

    file: the suite's configuration.
    """
    entries, labels = dict(benchmarks), dict[str, str]()
    for label, entry in benchmarks.items():
        name = entry.benchmark or label
        if name not in registry.names("benchmarks") or "manifest" not in registry.option_names("benchmarks", name):
            continue
        if entry.options.get("manifest") is None:
            first = labels.setdefault(json.dumps([name, entry.split_options], sort_keys=True, default=str), label)
            manifest = str(file.parent / f"{file.stem}.{first}.splits.json")
            entries[label] = entry.model_copy(update={"manifest": manifest})
    return entries


def written_out(content: Mapping[str, Any], benchmarks: Mapping[str, BenchmarkEntry]) -> dict[str, Any]:
    """The content of a suite's file with the paths of its split manifests, for a copy of the file in another place."""
    entries = dict(content["benchmarks"])
    for label, entry in benchmarks.items():
        if "manifest" in entry.options:
            entries[label] = {**(entries[label] or {}), "manifest": entry.options["manifest"]}
    return {**content, "benchmarks": entries}
