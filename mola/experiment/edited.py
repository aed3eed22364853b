"""Rows whose records, or whose tuning, a change of code alone made stale."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mola.experiment import record as records
from mola.experiment import tuned
from mola.experiment.record import Fingerprint, Record
from mola.experiment.spec import Experiment
from mola.types import BadInput


@dataclass(frozen=True)
class Retuned(Experiment):
    """An experiment whose ``tuned.json`` counts although the code of its study was edited since."""

    result: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def tuning_result(self) -> dict[str, Any] | None:
        """The content of ``tuned.json``."""
        return self.result


@dataclass(frozen=True)
class RowState:
    """The records of a row, by seed.

    stale:    those that only a change of code made stale.
    problems: why the other seeds have none that counts.
    """

    experiment: Experiment
    stale: dict[int, Record]
    problems: dict[int, str]

    @property
    def is_due(self) -> bool:
        """Whether there is anything to certify: records, or a study, whose code is in part not that of its runs."""
        return bool(self.stale) or isinstance(self.experiment, Retuned)

    def groups(self) -> list[dict[int, Record]]:
        """The stale records of one code each: a kill in a training leaves several."""
        groups: dict[str, dict[int, Record]] = {}
        for seed, record in self.stale.items():
            groups.setdefault(record.fingerprint.code, {})[seed] = record
        return list(groups.values())


def state(experiment: Experiment) -> RowState:
    """The row of an experiment, whose data are prepared."""
    row = RowState(_with_result(experiment), {}, {})
    for seed in experiment.suite.seeds:
        try:
            record = records.read(experiment.run_folder(seed) / records.NAME)
        except FileNotFoundError:
            row.problems[seed] = "no record"
            continue
        except BadInput as error:
            row.problems[seed] = str(error)
            continue
        reason = row.experiment.stale(record, seed)
        if record.status == "failed":
            row.problems[seed] = f"failed: {record.reason}"
        elif reason and _counts_but_for_code(row.experiment, record, seed):
            row.stale[seed] = record
        elif reason:
            row.problems[seed] = reason
    return row


def _counts_but_for_code(experiment: Experiment, record: Record, seed: int) -> bool:
    """Whether a record would count, were it of the code of today."""
    if not _same_but_code(record.fingerprint.model_dump(exclude_none=True), experiment.fingerprint):
        return False
    fingerprint = Fingerprint(**experiment.fingerprint)
    return experiment.stale(record.model_copy(update={"fingerprint": fingerprint}), seed) is None


def _same_but_code(old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    without = ({key: part for key, part in parts.items() if key not in ("code", "all")} for parts in (old, new))
    return next(without) == next(without)


def _with_result(experiment: Experiment) -> Experiment:
    """The experiment; where its tuning is of other code alone, as if that counted."""
    if experiment.is_tuned:
        return experiment
    path = experiment.study_folder / tuned.NAME
    try:
        stored = json.loads(path.read_text())["fingerprint"]
        # all else that is wrong with the file
        result = tuned.read(experiment.study_folder, {**experiment.study, "fingerprint": stored})
        if not _same_but_code(stored, experiment.study["fingerprint"]):
            return experiment
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return experiment
    return Retuned(experiment.suite, experiment.benchmark, experiment.label, experiment.configured, result)
