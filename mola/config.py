"""The typed configuration: one YAML file names the benchmarks, the methods and what differs from the defaults.

Everything is checked when the file is read, before anything is written; every error names the key, what was expected
and what was found.
``python -m mola.config`` prints the JSON schema that the workflow validates against.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PrivateAttr,
    ValidationError,
    field_validator,
)

from mola import plain, registry, yaml_file
from mola.old_keys import renamed
from mola.plain import LABEL, check_heading, check_label, check_path
from mola.types import BadInput, Sampling, one_line

S = TypeVar("S", bound="Section")
Balancing = str | dict[str, Any]  # a balancer's name, or {name: …} with its options
MOST_SEEDS = 10_000
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Location = Annotated[Path, AfterValidator(check_path)]


class Section(BaseModel):
    """A part of the configuration whose keys are all known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Training(Section):
    """How a model is trained. The defaults are the paper's for VLCS and OfficeHome, but for the number of epochs."""

    epochs: PositiveInt = Field(10, description="passes over the training split")
    batch_size: PositiveInt = Field(32, description="samples of a step, over all tasks")
    sampling: Sampling = Field(
        "balanced", description="balanced: every batch holds every task; proportional: one shuffled pool"
    )
    loss_weight: Literal["equal", "share"] = Field(
        "equal", description="of a task's mean loss, before balancing; share: the task's share of the batch's samples"
    )
    optimizer: Literal["adamw", "adam", "sgd"] = Field(
        "adamw", description="one optimiser over all parameters; sgd is plain momentum, not Nesterov"
    )
    lr: PositiveFloat = Field(1e-4, description="learning rate at the start")
    weight_decay: NonNegativeFloat = Field(1e-4, description="weight decay (decoupled for adamw)")
    momentum: NonNegativeFloat = Field(0.9, description="momentum of sgd")
    schedule: Literal["cosine", "step", "constant"] = Field(
        "cosine",
        description="stepped after every epoch; cosine: to zero; step: × step_gamma every step_epochs epochs",
    )
    step_epochs: PositiveInt = Field(100, description="epochs between two drops of the step schedule")
    step_gamma: PositiveFloat = Field(0.5, description="factor of one drop of the step schedule")
    amp: bool = Field(True, description="bf16 autocast on CUDA (never on a CPU)")
    deterministic: bool = Field(True, description="refuse operations whose result differs from run to run")


class Backbone(Section):
    """The feature extractor: any timm model."""

    name: str = Field("resnet18", description="timm's name of the model")
    options: dict[str, Any] = Field(default_factory=dict, description="keyword arguments of timm.create_model")
    weights: str | None = Field(
        None,
        description="null: random; timm: its hub; packaged: EfficientNet-Lite0 of mola[weights]; else a file",
    )
    head_width: PositiveInt = Field(512, description="hidden channels of the heads of dense tasks")

    @property
    def weights_file(self) -> Path | None:
        """The local file of the weights, where they come from one."""
        return None if self.weights in (None, "timm", "packaged") else Path(str(self.weights))


class Interval(Section):
    """A range of one knob: integers if both ends are."""

    low: int | float
    high: int | float
    log: bool = Field(False, description="drawn evenly on a logarithmic scale")


class Tune(Section):
    """Tuning: the same for every method. What it means: docs/tuning.md."""

    trials: PositiveInt = Field(20, description="finished trials of every (benchmark, method)")
    epochs: PositiveInt | None = Field(None, description="epochs of a trial; null: those of the run")
    seeds: PositiveInt = Field(1, description="seeds of a trial, other ones than the runs'; its value is their mean")
    space: dict[str, Interval | list[Any] | None] = Field(
        default_factory=dict,
        description="keys of the training section: a range, a list of choices, or null: not tuned; "
        "lr and weight_decay have ranges by default",
    )
    pruner: Literal["none", "median"] = Field(
        "none", description="median: stops poor trials early; the budget is then the epochs of that many whole trials"
    )


class Probes(Section):
    """What is measured while a method trains, besides its scores. Probes cost time and change no weight."""

    oracle_selection: bool = Field(
        False, description="also score the epoch of the lowest loss on the reported split, the released code's rule"
    )
    gradients: NonNegativeInt = Field(
        0, description="training batches after every epoch on which the tasks' gradients are compared; first seed"
    )
    routing: NonNegativeInt = Field(
        0, description="validation images of every task whose expert weights are kept; first seed"
    )


class Entry(BaseModel):
    """A benchmark or a method of the suite: the keys below, and the options of its class beside them."""

    model_config = ConfigDict(extra="allow", frozen=True)
    training: dict[str, Any] = Field(default_factory=dict, description="differences from the suite's training section")

    @property
    def options(self) -> dict[str, Any]:
        """The keys that belong to the class itself."""
        return dict(self.model_extra or {})


class BenchmarkEntry(Entry):
    """A benchmark of the suite."""

    backbone: dict[str, Any] = Field(default_factory=dict, description="differences from the suite's backbone section")
    balancer: Balancing | None = Field(None, description="differs from the suite's balancer")


class MethodEntry(Entry):
    """A row of the tables. Its key is its label; ``method`` names the file where the label does not."""

    method: str | None = Field(None, description="name of the method's file; the entry's own key by default")
    balancer: Balancing | None = Field(None, description="differs from the benchmark's, and that from the suite's")
    group: Annotated[str, AfterValidator(check_heading)] | None = Field(
        None, description="heading under which the tables put the row; no part of the run"
    )


class Settings(Section):
    """Everything that one (benchmark, method) is run with, resolved; seeds aside."""

    benchmark: str
    benchmark_options: dict[str, Any]
    method: str
    method_options: dict[str, Any]
    balancer: str
    balancer_options: dict[str, Any]
    training: Training
    backbone: Backbone
    probes: Probes


class Suite(Section):
    """A whole comparison."""

    suite: str = Field(description="name of the suite and of its folder under results", pattern=LABEL)
    results: Location = Field(Path("results"), description="folder of the results")
    data: Location = Field(Path("data"), description="folder of downloads, prepared arrays and split manifests")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a free GPU if there is one")
    seeds: list[Seed] = Field(
        description="run seeds, paired across methods; an integer n means 0 … n − 1",
        min_length=1,
        max_length=MOST_SEEDS,
    )
    reference: str | None = Field("single_task", description="label of the row that Δ is measured against; null: none")
    compare_to: str | None = Field(None, description="label of the row that tests compare with; null: the reference")
    paper_numbers: Location | None = Field(
        None, description="YAML file of cited numbers, in table columns of their own"
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
    benchmarks: dict[str, BenchmarkEntry] = Field(description="benchmarks to run", min_length=1)
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

    def settings(self, benchmark: str, label: str) -> Settings:
        """The settings of one row on one benchmark, resolved when they are first asked for.

        Raises BadInput for names outside the suite and for every wrong key or value.
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
        method = entry.method or label
        known_options = registry.option_names("methods", method)
        options = {k: v for k, v in self.shared_options.items() if k in known_options} | entry.options
        # the suite's balancer is checked where no row takes it, too
        balancer, balancer_options = _balancer(self.balancer, "balancer")
        for differing, where in ((base.balancer, place), (entry.balancer, row)):
            if differing is not None:
                balancer, balancer_options = _balancer(differing, f"{where}.balancer")
        training = _differing(self.training, base.training, f"{place}.training")
        return Settings(
            benchmark=benchmark,
            benchmark_options=registry.check_options("benchmarks", benchmark, base.options, place),
            method=method,
            method_options=registry.check_options("methods", method, options, row),
            balancer=balancer,
            balancer_options=balancer_options,
            training=_differing(training, entry.training, f"{row}.training"),
            backbone=_differing(self.backbone, base.backbone, f"{place}.backbone"),
            probes=self.probes,
        )


def load(path: Path, changes: Mapping[str, object] | None = None) -> Suite:
    """Read and check a configuration file, with top-level ``changes`` on top. Raises BadInput."""
    return parse(yaml_file.read(path) | dict(changes or {}), str(path))


def parse(content: Mapping[str, Any], origin: str) -> Suite:
    """Check a configuration that was read from ``origin``, down to the options of every method and benchmark."""
    try:
        # Snakemake reads the file itself
        plain.check(content)
        suite = _validated(Suite, renamed(content), "")
        for key in suite.shared_options:
            known = {o for name in registry.names("methods") for o in registry.option_names("methods", name)}
            if key not in known:
                raise BadInput(f"shared_options.{key}: no method has this option{registry.did_you_mean(key, known)}")
        for label in suite.methods:
            check_label(label, "methods")
        for benchmark in suite.benchmarks:
            check_label(benchmark, "benchmarks")
            for label in suite.methods:
                suite.settings(benchmark, label)
        _check_space(suite.tune.space if suite.tune else {})
        for key, named in (("reference", suite.reference), ("compare_to", suite.compare_to)):
            if named is not None and named not in suite.methods:
                hint = registry.did_you_mean(named, suite.methods)
                raise BadInput(f"{key}: expected one of the methods or null, found '{named}'{hint}")
    except BadInput as error:
        raise BadInput(one_line(f"{one_line(origin, 150)}: {error}")) from None
    return suite


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


def _differing(base: S, changes: Mapping[str, Any], where: str) -> S:
    return _validated(type(base), base.model_dump() | dict(changes), where)


def _validated(model: type[S], content: Mapping[str, Any], where: str) -> S:
    _check_keys(model, content, where)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise BadInput(registry.explain(error, where)) from None


def _check_space(space: Mapping[str, Interval | list[Any] | None]) -> None:
    known = [key for key in Training.model_fields if key not in ("epochs", "amp", "deterministic")]
    for key, values in space.items():
        place = f"tune.space.{key}"
        if key not in known:
            hint = registry.did_you_mean(key, known)
            raise BadInput(f"{place}: not a knob of the training section{hint}; expected one of {', '.join(known)}")
        if isinstance(values, Interval):
            if values.low >= values.high or (values.log and values.low <= 0):
                wish = "0 < low < high" if values.log else "low < high"
                raise BadInput(f"{place}: expected {wish}, found low {values.low} and high {values.high}")
            ends: list[Any] = [values.low, values.high]
        elif values == []:
            raise BadInput(f"{place}: expected a range, choices or null, found an empty list")
        else:
            ends = values or []
        for end in ends:
            _differing(Training(), {key: end}, "tune.space")


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


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
