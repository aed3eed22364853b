"""Whether a record is of the code, splits and settings that the files of its folder name, whatever they are today.

``inputs.json`` holds the settings before tuning. Where the suite tunes, its runs have the same code and splits, and
the settings that ``optuna/tuned.json`` changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mola.experiment import index, tuned
from mola.experiment.inputs import NAME as INPUTS
from mola.experiment.record import Record, upgraded_settings

STUDY, TUNED = (f"{tuned.FOLDER}/{name}" for name in (tuned.STUDY, tuned.NAME))
NAMES = (INPUTS, STUDY, TUNED, index.NAME)
SECTIONS = {"training": "training", "method": "method_options", "balancer": "balancer_options"}


def agrees(record: Record, files: Mapping[str, bytes], folder: str) -> bool | None:
    """Whether the record is of the code, splits and settings that the files say; None where no ``inputs.json`` does.

    files:  path → content.
    folder: the path of the record's row.
    """
    try:
        inputs = json.loads(files[f"{folder}/{INPUTS}"])
        if record.fingerprint.all == inputs["fingerprint"]["all"]:
            return True
    except (KeyError, ValueError, TypeError, RecursionError):
        return None
    try:
        return _tuned(record, inputs, *(json.loads(files[f"{folder}/{name}"]) for name in (STUDY, TUNED)))
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return False


def _tuned(record: Record, inputs: Mapping[str, Any], study: Mapping[str, Any], result: Mapping[str, Any]) -> bool:
    """Whether it is of ``inputs`` with the result of this study; a result of another study counts as none."""
    settings = dict(inputs["settings"])
    for section, values in result["parameters"].items():
        settings[SECTIONS[section]] = settings[SECTIONS[section]] | values
    return bool(
        all(result[key] == study[key] for key in ("fingerprint", "trials"))
        and record.fingerprint.code == inputs["fingerprint"]["code"]
        and record.fingerprint.manifest == inputs["fingerprint"]["manifest"]
        and record.settings == upgraded_settings(settings)
        and record.tuned is not None
        and record.tuned.model_dump() == {key: result[key] for key in ("trials", "value", "parameters")}
    )
