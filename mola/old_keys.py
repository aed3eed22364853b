"""Keys of the configuration that had other names once: still read, with a line that tells the name of today."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from mola.types import BadInput

SUITE = {"watch": "probes"}
TRAINING = {"batch": "batch_size"}
SECTIONS = {"training": TRAINING, "probes": {"paper_rule": "oracle_selection"}}


def renamed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the keys of today in the place of older ones; a line on stderr names each that was met."""
    suite = dict(_section(content, SUITE, ""))
    for key, names in SECTIONS.items():
        if key in suite:
            suite[key] = _section(suite[key], names, f"{key}.")
    for key in ("benchmarks", "methods"):
        if isinstance(entries := suite.get(key), Mapping):
            suite[key] = {name: _entry(entry, f"{key}.{name}.") for name, entry in entries.items()}
    if isinstance(tune := suite.get("tune"), Mapping) and "space" in tune:
        suite["tune"] = {**tune, "space": _section(tune["space"], TRAINING, "tune.space.")}
    return suite


def _entry(entry: Any, place: str) -> Any:
    if not isinstance(entry, Mapping) or "training" not in entry:
        return entry
    return {**entry, "training": _section(entry["training"], TRAINING, f"{place}training.")}


def _section(values: Any, names: Mapping[str, str], place: str) -> Any:
    if not isinstance(values, Mapping):
        return values
    old = {key: new for key, new in names.items() if key in values}
    for key, new in old.items():
        if new in values:
            raise BadInput(f"{place}{key}: is called {new} now; expected one of the two, found both")
    for key, new in old.items():
        print(f"mola: {place}{key} is called {new} now", file=sys.stderr)
    return {old.get(key, key): value for key, value in values.items()}
