"""What is tuned: the knobs of the training section, on the same ranges for all methods, and each method's own.

A knob's name is its place, ``training.lr``, ``method.rank``, ``balancer.c``; of an option with a number per task
``balancer.weights.<task>``.

With a grid it is the grid alone: no method has knobs of its own then, so that all rows have the same trials.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import Trial

from mola import registry
from mola.experiment.spec import Experiment
from mola.sections import Interval, Settings, Training
from mola.types import BadInput, Choices, PerTask, Range

Knobs = Mapping[str, Range | Choices]
Drawn = Mapping[str, Any]  # knob → value
WITHOUT_DECAY = Range(1e-6, 1e-2, log=True)  # where the configured weight decay is 0: a logarithm needs an end


def knobs(experiment: Experiment, tasks: Sequence[str]) -> Knobs:
    """All knobs of a row, the shared ones first, so that a method's own do not shift the first draws of those.

    tasks: the names of the benchmark's tasks.
    What the row's own entry fixes is left out, of the options also what ``shared_options`` and ``balancer`` fix.
    """
    suite, settings = experiment.suite, experiment.configured
    assert suite.tune is not None
    if suite.tune.grid is not None:
        return {f"training.{key}": values for key, values in suite.tune.grid_values.items()}
    space: dict[str, Range | Choices] = {f"training.{k}": r for k, r in _shared(experiment).items()}
    for section, options in (
        ("method", registry.load("methods", settings.method).search_space),
        ("balancer", registry.load("balancers", settings.balancer).search_space),
    ):
        for key, values in options.items():
            if not isinstance(values, PerTask):
                space[f"{section}.{key}"] = values
            elif len(tasks) > 1:
                space |= {f"{section}.{key}.{task}": values.range for task in tasks}
    fixed = experiment.fixed_knobs
    return {name: values for name, values in space.items() if ".".join(name.split(".")[:2]) not in fixed}


def _shared(experiment: Experiment) -> dict[str, Range | Choices]:
    """Around the benchmark's own values, whatever a method's entry says."""
    suite = experiment.suite
    assert suite.tune is not None
    changes = suite.benchmarks[experiment.benchmark].training
    centre = Training.model_validate(suite.training.model_dump() | changes)
    space: dict[str, Range | Choices] = {}
    if isinstance(centre.lr, float):
        space["lr"] = Range(centre.lr / 10, centre.lr * 10, log=True)
    elif "lr" not in suite.tune.space:
        raise BadInput(f"training.lr: expected one number to tune around, or tune.space.lr, found {centre.lr}")
    space |= {
        "weight_decay": Range(centre.weight_decay / 100, centre.weight_decay * 100, log=True)
        if centre.weight_decay
        else WITHOUT_DECAY,
    }
    for key, values in suite.tune.space.items():
        if values is None:
            space.pop(key, None)
        elif isinstance(values, Interval):
            space[key] = Range(values.low, values.high, values.log)
        else:
            space[key] = tuple(getattr(Training.model_validate({key: value}), key) for value in values)
    return space


def points(space: Knobs) -> list[Drawn]:
    """Every combination of choices in their order, the last knob's changing first: the trials of a grid."""
    choices = [values for values in space.values() if not isinstance(values, Range)]
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*choices)]


def configured(settings: Settings, space: Knobs) -> Drawn:
    """The configuration's own values, of the knobs that may take them: the first trial's."""
    sections = {
        "training": settings.training.model_dump(),
        "method": settings.method_options,
        "balancer": settings.balancer_options,
    }
    drawn = {}
    for name, values in space.items():
        section, key, *task = name.split(".", 2)
        value = 1.0 if task else sections[section][key]
        if not isinstance(values, Range):
            inside = value in values
        else:
            inside = isinstance(value, int | float) and values.low <= value <= values.high
        if inside:
            drawn[name] = value
    return drawn


def draw(trial: Trial, space: Knobs) -> Drawn:
    """One value of every knob, from the study's sampler."""
    drawn: dict[str, Any] = {}
    for name, values in space.items():
        if not isinstance(values, Range):
            drawn[name] = trial.suggest_categorical(name, values)  # type: ignore[arg-type]
        elif isinstance(values.low, int) and isinstance(values.high, int):
            drawn[name] = trial.suggest_int(name, values.low, values.high, log=values.log)
        else:
            drawn[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
    return drawn


def parameters(drawn: Drawn) -> dict[str, dict[str, Any]]:
    """What ``mola.experiment.tuned.applied`` takes: by section.

    Numbers per task are divided by their mean: what counts is their ratio, and the losses' sum keeps its size.
    """
    by_section: dict[str, dict[str, Any]] = {}
    for name, value in drawn.items():
        section, key, *task = name.split(".", 2)
        options = by_section.setdefault(section, {})
        if task:
            options.setdefault(key, {})[task[0]] = value
        else:
            options[key] = value
    for options in by_section.values():
        for numbers in options.values():
            if isinstance(numbers, dict):
                mean = statistics.fmean(numbers.values())
                numbers.update({task: number / mean for task, number in numbers.items()})
    return by_section
