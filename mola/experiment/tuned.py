"""What tuning found for a cell, and what it depends on. Read without torch or optuna: the workflow plans with it.

In ``results/<suite>/<benchmark>/<method>/optuna``, ``study.json`` holds what the study depends on, as ``inputs.json``
does for runs, and ``tuned.json`` what it found. One that was found under another ``study.json`` counts as none.

The order of these names matters: a clone's files are as new as their names are late, and ``inputs.json`` <
``optuna/study.json`` < ``optuna/tuned.json`` < ``runs.json`` is the workflow's order too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mola import registry
from mola.config import Settings, Suite, Training
from mola.data.splits.manifest import manifest_sha256
from mola.experiment.fingerprint import fingerprint
from mola.types import BadInput

FOLDER, STUDY, NAME = "optuna", "study.json", "tuned.json"


def folder(suite: Suite, benchmark: str, label: str) -> Path:
    """Of a cell's study."""
    return suite.cell(benchmark, label) / FOLDER


def told(settings: Settings) -> dict[str, Any]:
    """Settings as plain data, without what does not change a result."""
    plain = settings.model_dump(mode="json")
    plain["benchmark_options"].pop("mirror", None)  # where data comes from does not change it
    return plain


def modules(settings: Settings) -> list[str]:
    """Where the code that a run executes starts."""
    return [
        "mola.experiment.run",
        f"mola.benchmarks.{settings.benchmark}",
        f"mola.methods.{settings.method}",
        f"mola.balancers.{settings.balancer}",
    ]


def study(suite: Suite, benchmark: str, label: str) -> dict[str, Any]:
    """``{"fingerprint", "trials", "settings", "tune"}``: what decides the draws and values of a cell's study.

    The number of trials is no part of the fingerprint where they are simply counted: a study may be prolonged.
    """
    assert suite.tune is not None
    settings = suite.settings(benchmark, label)
    tune = suite.tune.model_dump(mode="json", exclude={"trials"} if suite.tune.pruner == "none" else set())
    tune["fixed"] = sorted(fixed(suite, benchmark, label))
    plain = told(settings)
    del plain["probes"]  # trials watch nothing
    made = fingerprint(
        {"settings": plain, "tune": tune}, [*modules(settings), "mola.tuning.budget"], manifest_sha256(benchmark)
    )
    return {"fingerprint": made, "trials": suite.tune.trials, "settings": plain, "tune": tune}


def fixed(suite: Suite, benchmark: str, label: str) -> set[str]:
    """The knobs of a row that tuning leaves alone, because the configuration itself gives them a value."""
    entry = suite.methods[label]
    given = [entry.balancer, suite.benchmarks[benchmark].balancer, suite.balancer]
    balancer = next(value for value in given if value is not None)
    options = {*suite.shared_options, *entry.options} & {*registry.option_names("methods", entry.method or label)}
    weighing = set(balancer) - {"name"} if isinstance(balancer, Mapping) else set()
    return (
        {f"training.{key}" for key in entry.training}
        | {f"method.{key}" for key in options}
        | {f"balancer.{key}" for key in weighing}
    )


def read(suite: Suite, benchmark: str, label: str) -> dict[str, Any] | None:
    """The content of the cell's ``tuned.json``; None where it is missing, unreadable or of another study."""
    return _look(suite, benchmark, label)[0]


def settings(suite: Suite, benchmark: str, label: str) -> Settings:
    """What a run of the cell trains with: the configuration's settings, and where the suite tunes, what tuning found.

    Raises BadInput where the cell has to be tuned first.
    """
    given = suite.settings(benchmark, label)
    if suite.tune is None:
        return given
    found, problem = _look(suite, benchmark, label)
    if found is None:
        path = folder(suite, benchmark, label) / NAME
        raise BadInput(f"{path}: {problem}; mola tune -b {benchmark} -m {label} first")
    return applied(given, found["parameters"])


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


def _look(suite: Suite, benchmark: str, label: str) -> tuple[dict[str, Any] | None, str]:
    """The content, or what is wrong with it."""
    now = study(suite, benchmark, label)
    try:
        found: dict[str, Any] = json.loads((folder(suite, benchmark, label) / NAME).read_text())
        of, trials, _ = found["fingerprint"]["all"], found["trials"], (found["parameters"], found["value"])
    except FileNotFoundError:
        return None, "expected what tuning found, found no such file"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return None, f"expected what tuning found, found an unreadable file ({type(error).__name__}: {error})"
    if of != now["fingerprint"]["all"]:
        return None, "expected what tuning found, found that of other code, settings, splits or search space"
    if trials != now["trials"]:
        return None, f"expected the result of {now['trials']} trials, found that of {trials}"
    return found, ""
