"""What tuning found for an experiment. Read without torch or optuna: the workflow plans with it.

In ``results/<suite>/<benchmark>/<method>/optuna``, ``study.json`` holds what the study depends on, as ``inputs.json``
does for runs, and ``tuned.json`` what it found, with the fingerprint of its study. That of another one counts as none.

The order of these names matters: a clone's files are as new as their names are late, and ``optuna/tuned.json`` <
``runs.json`` is the workflow's order too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mola import registry
from mola.files import with_checksum
from mola.sections import Settings, Training
from mola.types import BadInput, one_line

FOLDER, STUDY, NAME = "optuna", "study.json", "tuned.json"
Count = Annotated[int, Field(strict=True, ge=0)]


class _Result(BaseModel):
    """What is read of ``tuned.json``; further keys are kept as they are."""

    model_config = ConfigDict(extra="allow")

    fingerprint: dict[str, str]
    trials: Count
    value: Annotated[float, Field(strict=True)] | None
    parameters: dict[Literal["training", "method", "balancer"], dict[str, Any]]
    finished: Count = 0
    failed: Count = 0
    pruned: Count = 0

    @field_validator("fingerprint")
    @classmethod
    def _whole(cls, value: dict[str, str]) -> dict[str, str]:
        if "all" not in value:
            raise ValueError("expected the key all")
        return value


def read(folder: Path, study: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a study's ``tuned.json``. Raises BadInput, which says what is wrong with the file.

    study: what ``study.json`` has to hold today.
    """
    path = folder / NAME
    expected = f"{path}: expected what tuning found, found"
    try:
        content = _Result.model_validate(json.loads(path.read_text())).model_dump(exclude_unset=True)
        same, trials = content["fingerprint"]["all"] == study["fingerprint"]["all"], content["trials"]
    except FileNotFoundError:
        raise BadInput(f"{expected} no such file") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        problem = (
            registry.explain(error, "") if isinstance(error, ValidationError) else f"{type(error).__name__}: {error}"
        )
        raise BadInput(one_line(f"{expected} an unreadable file ({problem})")) from None
    if not same:
        raise BadInput(f"{expected} that of other code, settings, splits or search space")
    if trials != study["trials"]:
        raise BadInput(f"{path}: expected the result of {study['trials']} trials, found that of {trials}")
    if with_checksum(content) != content:
        raise BadInput(f"{expected} a file that was changed since it was written, or that has no checksum")
    return content


def applied(settings: Settings, parameters: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Settings with parameters of its sections ``training``, ``method`` and ``balancer`` changed. Raises BadInput."""
    method = settings.method_options | dict(parameters.get("method", {}))
    balancer = settings.balancer_options | dict(parameters.get("balancer", {}))
    training = settings.training.model_dump() | dict(parameters.get("training", {}))
    return settings.model_copy(
        update={
            "training": Training.model_validate(training),
            "method_options": registry.check_options("methods", settings.method, method, "method"),
            "balancer_options": registry.check_options("balancers", settings.balancer, balancer, "balancer"),
        }
    )
