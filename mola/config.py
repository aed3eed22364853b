"""The typed configuration: one YAML file names the benchmarks, the methods and what differs from the defaults.

Everything is checked when the file is read, before anything is written; every error names the key, what was expected
and what was found.
``python -m mola.config`` prints the JSON schema that the workflow validates against.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, PrivateAttr, field_validator

from mola import plain, registry, yaml_file
from mola.manifest_paths import with_paths
from mola.old_keys import renamed
from mola.plain import LABEL, check_benchmark_label, check_label, check_path
from mola.section_checks import (
    changed,
    check_answers,
    check_backbone,
    check_shared_options,
    check_tune,
    look_in,
    validated,
)
from mola.sections import (
    Backbone,
    Balancing,
    BenchmarkEntry,
    MethodEntry,
    Probes,
    Section,
    Settings,
    Training,
    Tune,
)
from mola.types import BadInput, one_line

S = TypeVar("S", bound="Section")
MOST_SEEDS = 10_000
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Location = Annotated[Path, AfterValidator(check_path)]


class Suite(Section):
    """A whole comparison."""

    suite: str = Field(description="name of the suite and of its folder under results", pattern=LABEL)
    results: Location = Field(Path("results"), description="folder of the results")
    data: Location = Field(Path("data"), description="folder of downloads, prepared arrays and split manifests")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto: a free GPU if there is one, and the CPU for portable runs"
    )
    seeds: list[Seed] = Field(
        description="run seeds, paired across methods; an integer n means 0 … n − 1",
        min_length=1,
        max_length=MOST_SEEDS,
    )
    reference: str | None = Field("single_task", description="label of the row that Δ is measured against; null: none")
    compare_to: str | None = Field(None, description="label of the row that tests compare with; null: the reference")
    answers: dict[str, list[str]] = Field(
        default_factory=dict,
        description="answers to the suite's question, each with the labels of its rows, as pool them: [shared]; the "
        "tables say which is best, or that nobody can tell",
    )
    paper_numbers: Location | None = Field(
        None, description="YAML file of cited numbers, in table columns of their own"
    )
    plugins: Location | None = Field(
        None,
        description="folder with methods, balancers, benchmarks and backbones of your own; null: where this file lies",
    )
    keep: Literal["none", "best"] = Field(
        "none",
        description="best: the selected weights of every run, beside its record; no part of what makes runs stale",
    )
    log: list[Literal["csv", "tensorboard", "dvclive"]] = Field(
        default_factory=list,
        description="what also follows the learning curves: a table beside each record, TensorBoard, DVCLive; no part "
        "of what makes runs stale",
    )
    training: Training = Training()
    backbone: Backbone = Backbone()
    balancer: Balancing = Field(
        "sum",
        description="how the losses of the tasks become one gradient: a name, or name: … with the balancer's options",
    )
    probes: Probes = Probes()
    shared_options: dict[str, Any] = Field(
        default_factory=dict, description="options that every method which has them takes, unless its own entry differs"
    )
    tune: Tune | None = Field(None, description="off or null: every row trains with the configuration's own settings")
    benchmarks: dict[str, BenchmarkEntry] = Field(description="benchmarks to run, by label", min_length=1)
    methods: dict[str, MethodEntry] = Field(description="rows of the tables", min_length=1)
    _settings: dict[tuple[str, str], Settings] = PrivateAttr(default_factory=dict)

    @field_validator("seeds", mode="before")
    @classmethod
    def _count_of_seeds(cls, value: object) -> object:
        if not isinstance(value, int) or isinstance(value, bool):
            return value
        if not 0 < value <= MOST_SEEDS:
            raise ValueError(f"expected a number of seeds from 1 to {MOST_SEEDS}, or a list of seeds")
        return list(range(value))

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, value: list[int]) -> list[int]:
        if len(set(value)) < len(value):
            raise ValueError("expected seeds that all differ")
        return value

    @field_validator("tune", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return None if value is False else value  # YAML reads "off" as false

    @field_validator("benchmarks", "methods", mode="before")
    @classmethod
    def _empty_entries(cls, value: object) -> object:
        return (
            {k: {} if v is None else v for k, v in value.items()} if isinstance(value, Mapping) else value
        )  # "digits:" alone is fine

    @property
    def folder(self) -> Path:
        """``results/<suite>``."""
        return self.results / self.suite

    def rows(self, benchmark: str) -> list[str]:
        """The labels of the rows that are trained on a benchmark, in the suite's order."""
        return [label for label, entry in self.methods.items() if benchmark in (entry.benchmarks or self.benchmarks)]

    @property
    def is_portable(self) -> bool:
        """Whether its runs give the same bits on every processor with AVX2 (:mod:`mola.portable`); all do or none."""
        benchmark = next(iter(self.benchmarks))
        return self.settings(benchmark, self.rows(benchmark)[0]).training.deterministic == "portable"

    def benchmark_name(self, label: str) -> str:
        """The name of the benchmark that an entry stands for."""
        return self.benchmarks[label].benchmark or label

    def settings(self, benchmark: str, label: str) -> Settings:
        """The settings of one row on one benchmark, both by label, resolved when they are first asked for.

        Raises BadInput for names outside the suite, for a benchmark that the row is not trained on, and for every wrong
        key or value.
        """
        if (benchmark, label) not in self._settings:
            self._settings[benchmark, label] = self._resolved(benchmark, label)
        return self._settings[benchmark, label]

    def _resolved(self, benchmark: str, label: str) -> Settings:
        for kind, name, known in (("benchmark", benchmark, self.benchmarks), ("method", label, self.methods)):
            if name not in known:
                hint = registry.did_you_mean(name, known)
                raise BadInput(f"{kind} '{name}' is not in suite '{self.suite}'{hint}; it has {', '.join(known)}")
        place, row, base = f"benchmarks.{benchmark}", f"methods.{label}", self.benchmarks[benchmark]
        entry = self.methods[label]
        if benchmark not in (entry.benchmarks or self.benchmarks):
            raise BadInput(f"{row}.benchmarks: the row is not trained on '{benchmark}'; add it there to do so")
        name, method = self.benchmark_name(benchmark), entry.method or label
        known_options = registry.option_names("methods", method)
        options = {k: v for k, v in self.shared_options.items() if k in known_options} | entry.options
        # the suite's balancer is checked where no row takes it, too
        balancer, balancer_options = _balancer(self.balancer, "balancer")
        for differing, where in ((base.balancer, place), (entry.balancer, row)):
            if differing is not None:
                balancer, balancer_options = _balancer(differing, f"{where}.balancer")
        training = changed(self.training, base.training, f"{place}.training")
        backbone = changed(self.backbone, base.backbone, f"{place}.backbone")
        method_options = registry.check_options("methods", method, options, row)
        return Settings(
            benchmark=name,
            benchmark_options=registry.check_options("benchmarks", name, base.options, place),
            method=method,
            method_options=method_options,
            balancer=balancer,
            balancer_options=balancer_options,
            training=changed(training, entry.training, f"{row}.training"),
            backbone=backbone,
            probes=self.probes,
        )


def plugins_folder(path: Path) -> Path:
    """Where the plugins of a configuration file lie, whatever else is in it. Raises BadInput for what is no YAML."""
    return Path(str(yaml_file.read(path).get("plugins") or path.parent))


def load(path: Path, changes: Mapping[str, object] | None = None) -> Suite:
    """Read and check a configuration file, with top-level ``changes`` on top. Raises BadInput."""
    return parse(yaml_file.read(path) | dict(changes or {}), str(path), path)


def parse(content: Mapping[str, Any], origin: str, file: Path | None = None) -> Suite:
    """Check a configuration that was read from ``origin``, down to the options of every method and benchmark.

    file: where it was read. Plugins are looked for beside it, unless the configuration names another place, and split
          manifests of the user's images are beside it.
    """
    try:
        # Snakemake reads the file itself
        plain.check(content)
        suite = validated(Suite, renamed(content), "")
        look_in(suite.plugins, file.parent if file else None)
        check_shared_options(suite.shared_options, suite.methods)
        entries = with_paths(suite.benchmarks, file or Path(f"{suite.suite}.yaml"))
        suite = suite.model_copy(update={"benchmarks": entries})
        for label, entry in suite.methods.items():
            check_label(label, "methods")
            _check_benchmarks(entry.benchmarks, f"methods.{label}.benchmarks", suite)
        for benchmark in suite.benchmarks:
            check_benchmark_label(benchmark)
            if not suite.rows(benchmark):
                raise BadInput(f"benchmarks.{benchmark}: expected a row that is trained on it, found none")
            for label in suite.rows(benchmark):
                check_backbone(suite.settings(benchmark, label).backbone)
        if suite.tune is not None:
            check_tune(suite.tune, suite.methods, suite.benchmarks)
        for key, named in (("reference", suite.reference), ("compare_to", suite.compare_to)):
            if named is not None and named not in suite.methods:
                hint = registry.did_you_mean(named, suite.methods)
                raise BadInput(f"{key}: expected one of the methods or null, found '{named}'{hint}")
            if named is not None and suite.methods[named].benchmarks is not None:
                raise BadInput(f"{key}: expected a row that is trained on all benchmarks, found '{named}'")
        check_answers(suite.answers, suite.methods)
        suite = _on_one_kind_of_kernels(suite)
    except BadInput as error:
        raise BadInput(one_line(f"{one_line(origin, 150)}: {error}")) from None
    return suite


def _on_one_kind_of_kernels(suite: Suite) -> Suite:
    """The suite, on the CPU where its rows are portable. Raises BadInput where only some are: a process has one kind of
    kernels.
    """
    rows: dict[bool, str] = {}
    for benchmark in suite.benchmarks:
        for label in suite.rows(benchmark):
            value = suite.settings(benchmark, label).training.deterministic
            rows.setdefault(value == "portable", f"{str(value).lower()} for {benchmark}/{label}")
    if len(rows) > 1:
        raise BadInput(
            f"training.deterministic: expected portable for all rows or none, found {' and '.join(rows.values())}"
        )
    if not suite.is_portable:
        return suite
    if suite.device == "cuda":
        raise BadInput("device: expected cpu or auto with training.deterministic: portable, found cuda")
    return suite.model_copy(update={"device": "cpu"})


def json_schema() -> dict[str, Any]:
    """The JSON schema of a configuration file."""
    # Snakemake's validate() needs "$schema", which pydantic leaves out
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Suite.model_json_schema()}
    schema["properties"]["seeds"] = {
        "anyOf": [schema["properties"]["seeds"], {"type": "integer", "minimum": 1, "maximum": MOST_SEEDS}]
    }
    schema["properties"]["tune"]["anyOf"].append({"const": False})  # "off"
    for entry in ("benchmarks", "methods"):  # "digits:" with nothing behind it reads as null
        value = schema["properties"][entry]
        value["additionalProperties"] = {"anyOf": [value["additionalProperties"], {"type": "null"}]}
    return schema


def _balancer(value: Balancing, where: str) -> tuple[str, dict[str, Any]]:
    """Its name, and its options with the defaults filled in."""
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(name := value.get("name"), str):
        raise BadInput(f"{where}.name: expected the name of a balancer, found {name!r}")
    options = {key: option for key, option in value.items() if key != "name"}
    return name, registry.check_options("balancers", name, options, where)


def _check_benchmarks(names: list[str] | None, place: str, suite: Suite) -> None:
    """Of a row. Raises BadInput where there is none, or one that the suite lacks."""
    if names == []:
        raise BadInput(f"{place}: expected benchmarks of the suite or null, found an empty list")
    for name in names or []:
        if name not in suite.benchmarks:
            hint = registry.did_you_mean(name, suite.benchmarks)
            raise BadInput(f"{place}: '{name}' is not in the suite{hint}; it has {', '.join(suite.benchmarks)}")


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
