"""What the files beside a cell's records ask of them, whatever the code and configuration of today.

``inputs.json`` tells of the settings before tuning. Where the suite tunes, its runs have the same code and splits, and
the settings that ``optuna/tuned.json`` changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mola.experiment import tuned
from mola.experiment.fingerprint import fingerprint
from mola.experiment.inputs import NAME as INPUTS
from mola.reporting.results.records import Record

STUDY, TUNED = (f"{tuned.FOLDER}/{name}" for name in (tuned.STUDY, tuned.NAME))
NAMES = (INPUTS, STUDY, TUNED)
SECTIONS = {"training": "training", "method": "method_options", "balancer": "balancer_options"}


def asked(record: Record, files: Mapping[str, bytes], cell: str) -> bool | None:
    """Whether the record is of the code, settings and splits that its cell asks for; None where no ``inputs.json``
    tells.

    files: path → content.
    cell:  the path of the cell's folder.
    """
    try:
        before = json.loads(files[f"{cell}/{INPUTS}"])
        if record["fingerprint"]["all"] == before["fingerprint"]["all"]:
            return True
    except (KeyError, ValueError, TypeError):
        return None
    try:
        return _tuned(record, before, *(json.loads(files[f"{cell}/{name}"]) for name in (STUDY, TUNED)))
    except (KeyError, ValueError, TypeError, AttributeError):
        return False


def _tuned(record: Record, before: Mapping[str, Any], study: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Whether it is ``before`` with what the study found; a result of another study counts as none."""
    settings = dict(before["settings"])
    for section, values in found["parameters"].items():
        settings[SECTIONS[section]] = settings[SECTIONS[section]] | values
    result = {key: found[key] for key in ("trials", "value", "parameters")}
    # hashed as the run has it: where tuning found 1 and the option is a float, it trained with 1.0
    hashed = fingerprint(record["config"] | {"tuned": result}, (), "")["settings"]
    return bool(
        all(found[key] == study[key] for key in ("fingerprint", "trials"))
        and all(record["fingerprint"][part] == before["fingerprint"][part] for part in ("code", "manifest"))
        and record["fingerprint"]["settings"] == hashed
        and record["config"] == settings
    )
