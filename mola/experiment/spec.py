"""An experiment: one row of one benchmark of a suite. Its settings are resolved once, and all that is asked of it here
is answered without torch: the workflow, ``mola status`` and the tables plan with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from mola import registry
from mola.config import Suite
from mola.experiment import belonging, index, tuned
from mola.experiment.belonging import COMPUTING
from mola.experiment.belonging import other_versions as other_versions
from mola.experiment.fingerprint import fingerprint
from mola.experiment.leakage import check_leakage
from mola.experiment.record import Record
from mola.sections import ADDED_LATER, PLACES, SURVIVAL, Probes, Section, Settings, Tune
from mola.types import BadInput, Benchmark, one_line


@dataclass(frozen=True)
class _Data:
    """A benchmark, and what is read of its files once."""

    benchmark: Benchmark

    @cached_property
    def splits_sha256(self) -> str:
        return self.benchmark.splits_sha256

    @cached_property
    def identity(self) -> str | None:
        try:
            return self.benchmark.identity
        except BadInput:
            return None


@dataclass(frozen=True)
class Experiment:
    """One (suite, benchmark, row), with a run for every seed.

    benchmark:  the label of the benchmark's entry in the suite; its name is ``configured.benchmark``.
    label:      the row's label in the suite.
    configured: the settings of the configuration, before tuning.
    """

    suite: Suite
    benchmark: str
    label: str
    configured: Settings

    @property
    def name(self) -> str:
        """``<benchmark>/<label>``."""
        return f"{self.benchmark}/{self.label}"

    @cached_property
    def folder(self) -> Path:
        """``results/<suite>/<benchmark>/<label>``."""
        return self.suite.folder / self.benchmark / self.label

    def run_folder(self, seed: int) -> Path:
        """``<folder>/seed<k>``."""
        return self.folder / f"seed{seed}"

    @property
    def study_folder(self) -> Path:
        """Where the experiment's tuning lies."""
        return self.folder / tuned.FOLDER

    @cached_property
    def tuning_result(self) -> dict[str, Any] | None:
        """The content of ``tuned.json``; None where the suite does not tune. Raises BadInput where tuning is to do."""
        if self.suite.tune is None:
            return None
        result = tuned.read(self.study_folder, self.study)
        try:
            tuned.applied(self.configured, result["parameters"])
        except (ValueError, BadInput) as error:
            path = self.study_folder / tuned.NAME
            raise BadInput(one_line(f"{path}: expected settings of this row, found: {error}")) from None
        return result

    @property
    def damage(self) -> str | None:
        """What is wrong with the index of its runs, or with what tuning left, where such a file is there."""
        result, runs = self.study_folder / tuned.NAME, self.folder / index.NAME
        try:
            if self.suite.tune is not None and result.is_file():
                _ = self.tuning_result
            if runs.is_file():
                index.read(runs)
        except BadInput as error:
            return str(error)
        return None

    @property
    def is_tuned(self) -> bool:
        """Whether nothing is left to tune."""
        try:
            return bool(self.tuning_result) or self.suite.tune is None
        except BadInput:
            return False

    @cached_property
    def settings(self) -> Settings:
        """What a run trains with: the configured settings, with what tuning found. Raises BadInput before tuning."""
        try:
            result = self.tuning_result
        except BadInput as error:
            command = f"`mola tune -b {self.benchmark} -m {self.label}`"
            raise BadInput(f"{error}; run {command} with the same --config first") from None
        return tuned.applied(self.configured, result["parameters"]) if result else self.configured

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """What a run depends on (:func:`mola.experiment.fingerprint.fingerprint`); before tuning, one that none has."""
        if self.suite.tune is None:
            return self.configured_fingerprint
        settings = self.settings if self.is_tuned else self.configured
        return self._fingerprint(settings, plain(settings) | {"tuned": self.tuned_summary})

    @cached_property
    def configured_fingerprint(self) -> dict[str, str]:
        """The fingerprint of the configured settings, whatever tuning finds."""
        return self._fingerprint(self.configured, plain(self.configured))

    def _fingerprint(self, settings: Settings, hashed: dict[str, Any], *more: str) -> dict[str, str]:
        files = settings.weights_files
        if files:
            # the content of weights counts, and not where they lie
            hashed = json.loads(json.dumps(hashed).replace(json.dumps(settings.backbone.weights), '"a file"'))
        return fingerprint(hashed, [*modules(settings), *more], self._data.splits_sha256, files)

    @property
    def tuned_summary(self) -> dict[str, Any] | None:
        """What the record tells of tuning: trials, value and parameters."""
        result = self.tuning_result if self.is_tuned else None
        return {key: result[key] for key in ("trials", "value", "parameters")} if result else None

    @cached_property
    def study(self) -> dict[str, Any]:
        """What decides the draws and values of the study: ``{"fingerprint", "trials", "settings", "tune"}``.

        The number of trials is no part of the fingerprint where they are simply counted: a study may be prolonged.
        """
        assert self.suite.tune is not None
        tune = _plain_tune(self.suite.tune) | {"fixed": sorted(self.fixed_knobs)}
        # trials probe nothing
        trial = self.configured.model_copy(update={"probes": Probes()})
        settings = plain(trial)
        del settings["probes"]
        parts = self._fingerprint(trial, {"settings": settings, "tune": tune}, "mola.tuning.budget")
        return {"fingerprint": parts, "trials": self.suite.tune.budget, "settings": settings, "tune": tune}

    @cached_property
    def fixed_knobs(self) -> set[str]:
        """The knobs that tuning leaves alone, because the configuration itself gives them a value."""
        entry = self.suite.methods[self.label]
        given = [entry.balancer, self.suite.benchmarks[self.benchmark].balancer, self.suite.balancer]
        balancer = next(value for value in given if value is not None)
        options = {*self.suite.shared_options, *entry.options}
        options &= {*registry.option_names("methods", self.configured.method)}
        weighing = set(balancer) - {"name"} if isinstance(balancer, Mapping) else set()
        return (
            {f"training.{key}" for key in entry.training}
            | {f"method.{key}" for key in options}
            | {f"balancer.{key}" for key in weighing}
        )

    @cached_property
    def _data(self) -> _Data:
        """What all rows of the benchmark have in common."""
        options, name = self.configured.benchmark_options, self.configured.benchmark
        return _Data(registry.create("benchmarks", name, self.suite.data, options=options))

    @property
    def data(self) -> Benchmark:
        """The benchmark with its options. Raises BadInput for those that it refuses."""
        return self._data.benchmark

    @property
    def data_identity(self) -> str | None:
        """The identity of the prepared data; None where it is not prepared here."""
        return self._data.identity

    def stale(self, record: Record, seed: int) -> str | None:
        """Why a record is none of this experiment's seed as it is now; None where it is. The one answer to this
        question.
        """
        return belonging.problem(self, record, seed)

    @cached_property
    def recorded(self) -> belonging.Recorded:
        """What a record of it holds."""
        # before tuning a fingerprint that none has, see above
        settings = self.settings if self.is_tuned else self.configured
        return belonging.Recorded.of(self.fingerprint, self.tuned_summary, plain(settings))


def experiments(suite: Suite) -> list[Experiment]:
    """All experiments of a suite, benchmark by benchmark; those of one share what is read of its files."""
    every = []
    for benchmark in suite.benchmarks:
        first: Experiment | None = None
        for label in suite.rows(benchmark):
            every.append(experiment(suite, benchmark, label, first))
            first = first or every[-1]
    return every


def check_raw(suite: Suite, benchmarks: Iterable[str]) -> None:
    """Raise BadInput where raw data of some benchmarks, by label, are the user's and changed since they were split."""
    for benchmark in benchmarks:
        experiment(suite, benchmark, suite.rows(benchmark)[0]).data.check_raw()


def experiment(suite: Suite, benchmark: str, label: str, like: Experiment | None = None) -> Experiment:
    """One experiment of a suite, by labels. Raises BadInput for those outside it, for what the benchmark refuses, and
    for weights whose pretraining saw what it tests.

    like: another one on the same benchmark, with which it shares what is read of the data.
    """
    settings = suite.settings(benchmark, label)
    check_leakage(settings, suite.data)
    result = Experiment(suite, benchmark, label, settings)
    if like is not None:
        # where a cached property keeps its value
        result.__dict__["_data"] = like._data
    result.data  # noqa: B018
    return result


def plain(settings: Settings) -> dict[str, Any]:
    """Settings as plain data, without what does not change a result: where data comes from
    (:data:`mola.sections.PLACES`), how a run survives (:data:`mola.sections.SURVIVAL`), and later keys that have their
    default (:data:`mola.sections.ADDED_LATER`).
    """
    content = settings.model_dump(mode="json")
    for place in PLACES:
        content["benchmark_options"].pop(place, None)
    for section, keys in SURVIVAL.items():
        for key in keys:
            del content[section][key]
    for section, keys in ADDED_LATER.items():
        fields = _fields(settings, section)
        for key in keys & content[section].keys():
            if content[section][key] == fields[key].get_default(call_default_factory=True):
                del content[section][key]
    return content


def _fields(settings: Settings, section: str) -> Mapping[str, FieldInfo]:
    """The keys of a part of the settings, with their defaults."""
    registered: dict[str, tuple[registry.Kind, str]] = {
        "benchmark_options": ("benchmarks", settings.benchmark),
        "method_options": ("methods", settings.method),
        "balancer_options": ("balancers", settings.balancer),
    }
    if section in registered:
        return registry.options_of(*registered[section]).model_fields
    part: Section = getattr(settings, section)
    return type(part).model_fields


def modules(settings: Settings) -> list[str]:
    """Where the code that a run executes starts."""
    return [
        "mola.experiment.run",
        registry.module("benchmarks", settings.benchmark),
        registry.module("methods", settings.method),
        registry.module("balancers", settings.balancer),
        *_custom(settings),
        *(["mola.training.cached"] if settings.backbone.cached_views else []),
        *(f"mola.training.probes.{name}" for name, on in settings.probes if on),
    ]


def _custom(settings: Settings) -> list[str]:
    """What a backbone of the user's own adds; packages whose versions are recorded count by these."""
    module = settings.backbone.module
    if module is None:
        return []
    return ["mola.models.custom", *([] if module.partition(".")[0] in COMPUTING else [module])]


def _plain_tune(tune: Tune) -> dict[str, Any]:
    """What decides the draws of a study, as plain data; the order of a grid's keys counts, as trials stand in it."""
    if tune.grid is None:
        return tune.model_dump(mode="json", exclude={"grid", *(["trials"] if tune.pruner == "none" else [])})
    content = tune.model_dump(mode="json", include={"epochs", "seeds"})
    return content | {"grid": [[key, list(values)] for key, values in tune.grid_values.items()]}
