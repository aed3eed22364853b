"""Whether a record belongs to an experiment's seed as it is now: its place, fingerprint, data and settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Self

from mola.experiment.record import Fingerprint, Record, Tuned

if TYPE_CHECKING:
    from mola.experiment.spec import Experiment

# packages whose versions may change a result
COMPUTING = ("torch", "torchvision", "timm", "numpy", "scipy", "torchjd")
PARTS = {"code": "code", "settings": "settings", "manifest": "splits", "files": "weights files"}


@dataclass(frozen=True)
class Recorded:
    """What a record of an experiment holds."""

    fingerprint: Fingerprint
    tuned: Tuned | None
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, fingerprint: Mapping[str, str], tuned: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> Self:
        """Of what an experiment says."""
        content = json.loads(json.dumps(settings, default=str))
        summary = Tuned.model_validate(tuned) if tuned else None
        return cls(Fingerprint(**fingerprint), summary, _placeless(content, "files" in fingerprint))


def problem(experiment: Experiment, record: Record, seed: int) -> str | None:
    """Why a record is none of the experiment's seed as it is now; None where it is."""
    expected = experiment.recorded
    if record.fingerprint != expected.fingerprint:
        return f"trained with other {_other(record.fingerprint.model_dump(), expected.fingerprint.model_dump())}"
    if experiment.data_identity is not None and record.data != experiment.data_identity:
        return "made on other prepared data than is there now"
    place = (record.suite, record.benchmark, record.method, record.seed)
    if place != (experiment.suite.suite, experiment.benchmark, experiment.label, seed):
        return f"a record of {'/'.join(map(str, place[:3]))}/seed{record.seed}"
    has_files = record.fingerprint.files is not None
    if record.tuned != expected.tuned or _placeless(record.settings, has_files) != expected.settings:
        return "its settings are not those of its fingerprint: it was changed since"
    return None


def other_versions(record: Record) -> list[str]:
    """Packages that compute and whose minor version is another now: ``torch 2.14.1, now 2.15.0``."""
    return list(_other_versions(tuple((name, record.versions[name]) for name in COMPUTING if name in record.versions)))


@cache
def _other_versions(versions: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    from importlib.metadata import PackageNotFoundError, version

    changes = []
    for name, old in versions:
        try:
            new = version(name)
        except PackageNotFoundError:
            new = "none"
        if old.split(".")[:2] != new.split(".")[:2]:
            changes.append(f"{name} {old}, now {new}")
    return tuple(changes)


def _other(old: Mapping[str, str | None], new: Mapping[str, str | None]) -> str:
    """Which parts of two fingerprints differ, in words."""
    *first, last = [word for key, word in PARTS.items() if old.get(key) != new.get(key)] or [
        "parts than its fingerprint"
    ]
    return f"{', '.join(first)} and {last}" if first else last


def _placeless(settings: Mapping[str, Any], has_files: bool) -> Mapping[str, Any]:
    """Settings without where a file of weights lies, which may be another place for the same content."""
    backbone = settings.get("backbone")
    if not has_files or not isinstance(backbone, dict):
        return settings
    return {**settings, "backbone": {**backbone, "weights": None}}
