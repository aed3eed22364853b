"""The sections of a configuration: their keys, with types, defaults and meanings."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)

from mola.plain import check_heading
from mola.pretrained import TINY
from mola.types import Sampling

# Keys that are younger than the committed records, by part of the settings. Where such a key has its default, a run is
# what it was before there was the key: it is hashed and recorded without it, and earlier records stay valid. So the
# default of a key that stands here must never change.
ADDED_LATER: dict[str, set[str]] = {
    "backbone": {"freeze_stages", "cached_views"},
    "benchmark_options": {"tasks"},
}
# Keys that say how a run survives, by part of the settings. They change no bit of it: neither hashed nor recorded.
SURVIVAL: dict[str, set[str]] = {"training": {"checkpoint", "retries"}}
# of a backbone: module:function
CALLABLE = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
# Options of benchmarks that say where data lie. What lies there counts, by its checksums.
PLACES = ("mirror", "root", "manifest")
# a balancer's name, or {name: …} with its options
Balancing = str | dict[str, Any]


class Section(BaseModel):
    """A part of the configuration whose keys are all known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Training(Section):
    """How a model is trained. The defaults are the paper's for VLCS and OfficeHome, but for the number of epochs."""

    epochs: PositiveInt = Field(10, description="each ends with validation")
    passes: PositiveInt = Field(
        1, description="over the training split in an epoch; several where few images make validation the larger part"
    )
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
    lr: PositiveFloat | dict[str, PositiveFloat] = Field(
        1e-4, description="learning rate at the start; of a method of several models also one for each, by name"
    )
    weight_decay: NonNegativeFloat = Field(1e-4, description="weight decay (decoupled for adamw)")
    momentum: NonNegativeFloat = Field(0.9, description="momentum of sgd")
    schedule: Literal["cosine", "step", "constant"] = Field(
        "cosine", description="stepped after every epoch; cosine: to zero; step: × step_gamma every step_epochs epochs"
    )
    step_epochs: PositiveInt = Field(100, description="epochs between two drops of the step schedule")
    step_gamma: PositiveFloat = Field(0.5, description="factor of one drop of the step schedule")
    amp: bool = Field(True, description="bf16 autocast on CUDA (never on a CPU)")
    deterministic: Literal[True, False, "portable"] = Field(
        True,
        description="true: refuse operations whose result differs from run to run; portable: also the same bits on "
        "every x86-64 processor with AVX2, on the CPU with one thread",
    )
    checkpoint: dict[Literal["minutes", "steps", "epochs"], PositiveFloat] = Field(
        {"minutes": 5},
        min_length=1,
        max_length=1,
        description="when a run's state is written, from which it goes on: after so many minutes (and after an epoch "
        "where that costs little), steps or epochs",
    )
    retries: NonNegativeInt = Field(
        1, description="of a run that failed, at once; one that diverged is not tried again"
    )


class Backbone(Section):
    """The feature extractor: any timm model, or one of the user's own."""

    name: str = Field(
        "resnet18",
        description="timm's name of the model; or module:function, a callable that returns a module whose output are "
        "features, in a file beside the configuration or installed",
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="keyword arguments of timm.create_model, or of that callable"
    )
    weights: str | None = Field(
        None,
        description="null: random; tiny: a quarter-width resnet10t, pretrained on icons; timm: its hub; "
        "packaged: EfficientNet-Lite0 of mola-bench[weights]; else a file",
    )
    head_width: PositiveInt = Field(512, description="hidden channels of the heads of dense tasks")
    freeze_stages: NonNegativeInt = Field(
        0,
        description="the stem and so many stages (of stride 4 and more) stay as loaded: no gradient, no adapters, "
        "BatchNorm as in evaluation",
    )
    cached_views: PositiveInt | None = Field(
        None,
        description="the frozen stages run once on so many fixed augmentations of every training image, and training "
        "reads what they gave from the disk; null: every step runs them",
    )

    @field_validator("cached_views")
    @classmethod
    def _of_frozen_weights(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and not info.data.get("freeze_stages", 1):
            raise ValueError("expected null where freeze_stages is 0")
        if value is not None and info.data.get("weights", "") is None:
            raise ValueError("expected null where weights are random, other ones for every seed")
        return value

    @field_validator("name")
    @classmethod
    def _module_and_function(cls, value: str) -> str:
        if ":" in value and not re.fullmatch(CALLABLE, value):
            raise ValueError("expected timm's name of a model, or module:function")
        return value

    @field_validator("weights", "cached_views")
    @classmethod
    def _of_timm_models(cls, value: str | int | None, info: ValidationInfo) -> str | int | None:
        name = info.data.get("name", "")
        if ":" in name and (value in ("tiny", "timm", "packaged") or isinstance(value, int)):
            wish = "null, a model of timm or weights in a file" if info.field_name == "weights" else "null"
            raise ValueError(f"expected {wish} where {name} makes the backbone")
        return value

    @field_validator("options")
    @classmethod
    def _no_weights_among_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        if wrong := {"checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"} & options.keys():
            raise ValueError(f"expected weights under backbone.weights, not in {min(wrong)}")
        return options

    @property
    def module(self) -> str | None:
        """The module of a callable that makes the backbone; None for timm's models."""
        module, colon, _ = self.name.partition(":")
        return module if colon else None

    @property
    def weights_file(self) -> Path | None:
        """The local file of the weights, where they come from one."""
        if self.weights == "tiny":
            return TINY
        return None if self.weights in (None, "timm", "packaged") else Path(str(self.weights))


class Interval(Section):
    """A range of one knob: integers if both ends are."""

    low: int | float
    high: int | float
    log: bool = Field(False, description="drawn evenly on a logarithmic scale")


class Tune(Section):
    """Tuning: the same for every method. What it means: docs/tuning.md."""

    trials: PositiveInt = Field(20, description="finished trials of every (benchmark, method); not beside a grid")
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
    grid: dict[str, list[Any]] | None = Field(
        None,
        description="instead of trials, space and pruner: keys of the training section with their values; "
        "every combination is one trial of every row",
    )

    @property
    def budget(self) -> int:
        """The number of trials: of the grid's combinations, where there is one."""
        return self.trials if self.grid is None else math.prod(map(len, self.grid.values()))

    @property
    def grid_values(self) -> dict[str, tuple[Any, ...]]:
        """The grid's keys with their values in the types of the training section; empty without a grid."""
        return {
            key: tuple(getattr(Training.model_validate({key: value}), key) for value in values)
            for key, values in (self.grid or {}).items()
        }


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
    """A benchmark of the suite. Its key is its label; ``benchmark`` names the file where the label does not."""

    benchmark: str | None = Field(
        None,
        description="name of the benchmark's file, for several entries of one; the entry's own key by default",
    )
    backbone: dict[str, Any] = Field(default_factory=dict, description="differences from the suite's backbone section")
    balancer: Balancing | None = Field(None, description="differs from the suite's balancer")

    @property
    def data_options(self) -> dict[str, Any]:
        """The options without those that change no prepared array: entries that agree in the rest share their data."""
        return {key: value for key, value in self.options.items() if key not in ("mirror", "train")}

    @property
    def split_options(self) -> dict[str, Any]:
        """The options that decide over the splits of a user's images: entries that agree in them share a manifest."""
        rest = ("mirror", "train", "limit", "tasks", "size", "augment", "manifest")
        return {key: value for key, value in self.options.items() if key not in rest}


class MethodEntry(Entry):
    """A row of the tables. Its key is its label; ``method`` names the file where the label does not."""

    method: str | None = Field(None, description="name of the method's file; the entry's own key by default")
    balancer: Balancing | None = Field(None, description="differs from the benchmark's, and that from the suite's")
    group: Annotated[str, AfterValidator(check_heading)] | None = Field(
        None, description="heading under which the tables put the row; no part of the run"
    )
    benchmarks: list[str] | None = Field(
        None, description="benchmarks of the suite that the row is trained on; null: all of them"
    )


class Settings(Section):
    """Everything that one (benchmark, method) is run with, resolved; seeds aside. Names are those of files."""

    benchmark: str
    benchmark_options: dict[str, Any]
    method: str
    method_options: dict[str, Any]
    balancer: str
    balancer_options: dict[str, Any]
    training: Training
    backbone: Backbone
    probes: Probes

    @property
    def weights_files(self) -> dict[str, Path]:
        """The local files that the run reads, by the key that names each."""
        file = self.backbone.weights_file
        return {"backbone.weights": file} if file else {}
