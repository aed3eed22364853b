"""What pydantic alone does not check of a section, or not in words that a user understands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from mola import registry
from mola.sections import SURVIVAL, Backbone, BenchmarkEntry, Entry, Interval, MethodEntry, Section, Training, Tune
from mola.source import module_file
from mola.types import BadInput

S = TypeVar("S", bound="Section")


def changed(base: S, changes: Mapping[str, Any], where: str) -> S:
    """A section with some keys changed, checked as :func:`validated` does."""
    return validated(type(base), base.model_dump() | dict(changes), where) if changes else base


def validated(model: type[S], content: Mapping[str, Any], where: str) -> S:
    """The section that stands at the key ``where``. Raises BadInput, which names the key, where something is wrong."""
    _check_keys(model, content, where)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise BadInput(registry.explain(error, where)) from None


def look_in(plugins: Path | None, folder: Path | None) -> None:
    """Look for plugins where the key of this name says, or else in the configuration's folder."""
    if plugins is not None and not plugins.is_dir():
        raise BadInput(f"plugins: expected a folder, found none at {plugins}")
    registry.look_in(plugins or folder)


def check_shared_options(options: Mapping[str, Any], methods: Mapping[str, MethodEntry]) -> None:
    """Raise BadInput for an option that no method has. Those of the suite are asked first: another one's file may be
    in the making.
    """
    names = [entry.method or label for label, entry in methods.items()]
    known = {option for name in names for option in registry.option_names("methods", name)}
    for key in options:
        if key not in known:
            known |= {o for name in registry.names("methods") for o in registry.option_names("methods", name)}
        if key not in known:
            raise BadInput(f"shared_options.{key}: no method has this option{registry.did_you_mean(key, known)}")


def check_backbone(backbone: Backbone) -> None:
    """Raise BadInput where the module of a callable that makes the backbone is not there."""
    if backbone.module is not None and module_file(backbone.module) is None:
        wish = "a module in a file beside the configuration or installed"
        raise BadInput(f"backbone.name: expected {wish}, found no '{backbone.module}'")


# Keys of the training section that are the same for all, or change no result
FIXED = {"epochs", "amp", "deterministic", *SURVIVAL["training"]}


def check_tune(tune: Tune, methods: Mapping[str, MethodEntry], benchmarks: Mapping[str, BenchmarkEntry]) -> None:
    """Raise BadInput for keys that can't be tuned, values that they don't take, and a grid that is none."""
    _check_values(tune.space, "tune.space")
    _check_values(tune.grid or {}, "tune.grid")
    _check_grid(tune, {"methods": methods, "benchmarks": benchmarks})


def check_answers(answers: Mapping[str, Sequence[str]], methods: Mapping[str, MethodEntry]) -> None:
    """Raise BadInput for answers to choose among that are no two, or whose rows are none, unknown, or another's."""
    if len(answers) == 1:
        raise BadInput(f"answers: expected two or more to choose among, found only '{next(iter(answers))}'")
    taken: dict[str, str] = {}
    for answer, labels in answers.items():
        if not answer.strip() or not answer.isprintable():
            raise BadInput(f"answers: expected words in one line, found {answer!r}")
        if not labels:
            raise BadInput(f"answers.{answer}: expected labels of rows, found none")
        for label in labels:
            if label not in methods:
                hint = registry.did_you_mean(label, methods)
                raise BadInput(f"answers.{answer}: expected labels of rows, found '{label}'{hint}")
            if label in taken:
                raise BadInput(
                    f"answers.{answer}: expected rows of no other answer, found '{label}' of '{taken[label]}'"
                )
            taken[label] = answer


def _check_values(values: Mapping[str, Interval | list[Any] | None], where: str) -> None:
    """What ``tune.space`` and ``tune.grid`` have in common: keys of the training section, and values that they take."""
    known = [key for key in Training.model_fields if key not in FIXED]
    for key, choices in values.items():
        place = f"{where}.{key}"
        if key not in known:
            hint = registry.did_you_mean(key, known)
            raise BadInput(f"{place}: not a knob of the training section{hint}; expected one of {', '.join(known)}")
        if isinstance(choices, Interval):
            if choices.low >= choices.high or (choices.log and choices.low <= 0):
                wish = "0 < low < high" if choices.log else "low < high"
                raise BadInput(f"{place}: expected {wish}, found low {choices.low} and high {choices.high}")
            ends: list[Any] = [choices.low, choices.high]
        elif choices == []:
            wish = "a range, choices or null" if where == "tune.space" else "values"
            raise BadInput(f"{place}: expected {wish}, found an empty list")
        else:
            ends = choices or []
        for end in ends:
            if isinstance(end, Mapping):
                raise BadInput(f"{place}: expected one value at a time for all parts of a method, found {end}")
            changed(Training(), {key: end}, where)


def _check_grid(tune: Tune, sections: Mapping[str, Mapping[str, Entry]]) -> None:
    """A grid is the whole budget, and the same for every row."""
    if tune.grid is None:
        return
    if not tune.grid:
        raise BadInput("tune.grid: expected a key of the training section with its values, found none")
    for key, values in tune.grid_values.items():
        if len(set(values)) < len(values):
            raise BadInput(f"tune.grid.{key}: expected values that all differ, found {list(values)}")
        for section, entries in sections.items():
            for label, entry in entries.items():
                if key in entry.training:
                    place = f"{section}.{label}.training.{key}"
                    raise BadInput(f"{place}: expected none where tune.grid tries values, found {entry.training[key]}")
    for key, given in (
        ("trials", "trials" in tune.model_fields_set),
        ("space", bool(tune.space)),
        ("pruner", tune.pruner != "none"),
    ):
        if given:
            wish = f"expected none beside tune.grid, whose combinations are the {tune.budget} trials"
            raise BadInput(f"tune.{key}: {wish}, found {getattr(tune, key)}")


def _check_keys(model: type[Section], content: Mapping[str, Any], where: str) -> None:
    for key, value in content.items():
        place = f"{where}.{key}" if where else str(key)
        if key not in model.model_fields:
            hint = registry.did_you_mean(str(key), model.model_fields)
            raise BadInput(f"{place}: unknown key{hint}; expected one of {', '.join(model.model_fields)}")
        annotation = model.model_fields[key].annotation
        for inner in get_args(annotation) or (annotation,):  # "Tune | None", too
            if isinstance(inner, type) and issubclass(inner, Section) and isinstance(value, Mapping):
                _check_keys(inner, value, place)
