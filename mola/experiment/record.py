"""The record of a run: the typed content of ``record.json``, and the only list of its keys.

``python -m mola.experiment.record`` prints docs/record.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mola import old_keys
from mola.experiment import index
from mola.files import CHECKSUM, with_checksum, write_json
from mola.registry import explain
from mola.types import BadInput

# Of the keys below, as in Record.version: raise both when a key changes, and teach ``_upgraded`` the change.
VERSION = 5
NAME = "record.json"
Number = Annotated[float, Field(strict=True), BeforeValidator(lambda value: math.nan if value is None else value)]
Measured = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=0)]
Scores = dict[str, dict[str, Number]]  # task → metric → value; "loss" stands among the metrics


class Part(BaseModel):
    """A part of the record: all keys are known, and nothing changes after it was checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Fingerprint(Part):
    """What the result depends on, as sha256 of each part (docs/protocol.md says what retrains)."""

    code: str = Field(description="the source that the run executes, in its normal form")
    settings: str = Field(description="the resolved settings, and what tuning found")
    manifest: str = Field(description="the committed split manifest")
    files: str | None = Field(None, description="local files that the settings name: pretrained weights")
    all: str = Field(description="all parts together")


class Certified(Part):
    """Why a record counts for code that did not train it: that code gave the bits of another seed once more."""

    seed: Count = Field(description="the seed that was trained once more, and was equal to the last bit")
    commit: str = Field(description="git commit of the code that trained it once more")
    trained_fingerprint: str = Field(description="of the code that trained this record, as in `fingerprint.code`")


class Tuned(Part):
    """What tuning found for the run."""

    trials: int = Field(description="finished trials of the study's budget")
    value: Number = Field(description="the best trial's score on the validation split")
    parameters: dict[str, dict[str, Any]] = Field(description="section → key → value")


class Parameters(Part):
    """How many parameters the method has; 0 where a run failed before it was built."""

    trainable: Count = Field(description="all that the optimiser steps")
    inference: Count = Field(description="those that the predictions of all tasks depend on")


class Epoch(Part):
    """One point of the learning curve."""

    epoch: Count = Field(description="counted from 1")
    lr: Measured = Field(
        ge=0,
        allow_inf_nan=False,
        strict=True,
        description="learning rate of the epoch; where parts have rates of their own, that of the first",
    )
    steps: Count = Field(description="training steps of the epoch")
    train_seconds: Measured = Field(description="seconds of the training steps, loading included")
    train: dict[str, Number] = Field(description="task → mean training loss; aux_loss: of the method's auxiliary loss")
    valid: Scores = Field(description="scores on the validation split after the epoch")


class Failure(Part):
    """Where a run failed."""

    kind: Literal["diverged", "out of memory", "error"] = Field(description="diverged: a loss was not finite")
    phase: str = Field(description="start, training, validation, selection, test, or the probe that ran")
    epoch: Count = Field(description="counted from 1; 0 before the first")
    step: Count = Field(description="of that epoch, counted from 1")
    lines: list[str] = Field(description="the last places in the code, innermost last")
    log: str = Field(description="path of the run's log, which has all lines")


class OracleSelection(Part):
    """The scores that the released code's rule would report: the epoch of the lowest test loss. They are too good."""

    selected: dict[str, int] = Field(description="part → epoch")
    test: Scores = Field(description="test scores at those epochs")


class Record(Part):
    """One run: what it was, what it gave, and everything that is needed to make it again."""

    version: Literal[5] = Field(5, description="of this list of keys")
    suite: str = Field(description="name of the suite")
    benchmark: str = Field(description="label of the benchmark in the suite; its name stands in settings")
    method: str = Field(description="label of the row")
    seed: Count = Field(description="the run seed, from which every random part derives its own")
    settings: dict[str, Any] = Field(description="the resolved settings that the run trained with")
    data: str = Field(description="identity of the prepared arrays, a sha256")
    tuned: Tuned | None = Field(None, description="what tuning found; null where the suite does not tune")
    remarks: list[str] = Field(description="what a reader of the benchmark's tables must know")
    fingerprint: Fingerprint = Field(description="what the result depends on")
    certified: Certified | None = Field(None, description="null where the code of the fingerprint trained the run")
    versions: dict[str, str] = Field(description="package → version")
    commit: str | None = Field(description="git commit of the code that trained; null without git")
    dirty: bool | None = Field(description="whether tracked or new source files differed from the commit")
    device: str = Field(description="kind and name of the device")
    threads: Count = Field(description="threads of torch's own operations")
    time: str = Field(description="UTC, when the run began")
    parameters: Parameters = Field(description="how many parameters the method has")
    flops_per_sample: Count = Field(description="of inference, for one image, averaged over the tasks")
    status: Literal["done", "failed"] = Field(description="whether training came to its end")
    reason: str | None = Field(None, description="why the run failed")
    failure: Failure | None = Field(None, description="where it failed; null for a finished run")
    resumed: Count = Field(0, description="how often the run went on from a checkpoint")
    batch_parts: int = Field(
        1,
        ge=1,
        description="parts that batches were computed in at the end, with gradients that add up, as memory ran out",
    )
    selected: dict[str, int] = Field(description="part of the method → the epoch that validation selected")
    valid: Scores = Field(description="validation scores at the selected epoch")
    test: Scores = Field(description="test scores at the selected epoch, read once")
    oracle_selection: OracleSelection | None = Field(None, description="null where that probe was off")
    curve: list[Epoch] = Field(description="one entry an epoch; of a failed run, those until then")
    seconds: Measured = Field(description="wall time of the process that finished the run")
    seconds_per_step: Measured | None = Field(description="median over epochs of the mean step; null without an epoch")
    backward_passes: str | None = Field(
        None, description="of a Jacobian balancer's step: one for all tasks, or one for each and why; null for others"
    )
    peak_memory_bytes: Count = Field(description="tensors on a GPU; on a CPU the peak of the process")
    weights_sha256: str | None = Field(description="of the trained weights at the selected epoch")


class _Changed(BadInput):
    """A record was changed since it was written."""


def write(path: Path, record: Record) -> None:
    """Write a record by renaming; numbers that are not finite become null.

    An index that lists the one before is removed.
    """
    index.drop(path)
    write_json(path, with_checksum(record.model_dump(mode="json")))


def read(path: Path, scores: bool = True) -> Record:
    """The record in a file, which the index of its row, where there is one, has to list.

    scores: whether scores and the curve are wanted; a record that the index vouches for is read faster without.
    Raises FileNotFoundError, and BadInput for everything else that is wrong with it.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise BadInput(f"unreadable record: {error.strerror}") from None
    is_listed = index.check(path, content)
    return parse(content, scores=not is_listed or scores, is_listed=is_listed)


def parse(content: bytes, scores: bool = True, is_listed: bool = False) -> Record:
    """The record in a file's content, of this version or an older one. Raises BadInput, which says what is wrong.

    scores: whether scores and the curve are wanted. is_listed: an index has the checksum of the file, so that the one
    in it need not be looked at.
    """
    try:
        raw = json.loads(content)
        if not isinstance(raw, dict):
            raise ValueError(f"expected a mapping, found {type(raw).__name__}")
        # none before version 5
        if not is_listed and (raw.get(CHECKSUM) or raw.get("version") == VERSION) and raw != with_checksum(raw):
            raise _Changed("changed or damaged since it was written: its checksum is that of another content")
        raw.pop(CHECKSUM, None)
        return Record.model_validate(_upgraded(raw if scores else raw | {"curve": [], "valid": {}, "test": {}}))
    except _Changed:
        raise
    except ValidationError as error:
        raise BadInput(f"unreadable record: {explain(error, '')}") from None
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(f"unreadable record: {type(error).__name__}: {error}") from None


def _upgraded(raw: dict[str, Any]) -> dict[str, Any]:
    """A record with the keys of today: version 4 had no checksum, version 3 no ``failure``, ``resumed``,
    ``batch_parts`` and ``backward_passes``, version 2 no ``certified``; version 1 no ``version``, and other names.
    """
    if raw.get("version") in (2, 3, 4):
        return raw | {"version": VERSION}
    if "version" in raw or not isinstance(raw.get("config"), dict):
        return raw
    curve = [
        {**epoch, "train": {"aux_loss" if k == "penalty" else k: v for k, v in epoch["train"].items()}}
        for epoch in raw.get("curve", [])
    ]
    rest = {key: value for key, value in raw.items() if key not in ("config", "paper_rule", "curve")}
    return rest | {
        "version": VERSION,
        "settings": upgraded_settings(raw["config"]),
        "oracle_selection": raw.get("paper_rule"),
        "curve": curve,
    }


def upgraded_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of version 1 with the keys of today; those of today are left as they are."""
    renamed = {old_keys.SUITE.get(key, key): value for key, value in settings.items()}
    for section, names in old_keys.SECTIONS.items():
        renamed[section] = {names.get(key, key): value for key, value in renamed.get(section, {}).items()}
    return renamed


def document() -> str:
    """docs/record.md: every key with its type and meaning."""
    text = (
        "# The record of a run\n\n"
        "Every run writes `results/<suite>/<benchmark>/<method>/seed<k>/record.json`, and tables read nothing else. "
        "This page is made from [mola/experiment/record.py](../mola/experiment/record.py) by "
        "`python -m mola.experiment.record > docs/record.md`.\n"
        f"\nIts keys are those of version {VERSION}. Older records are read, too; newer ones are refused.\n"
        "One more key, `sha256`, is a checksum of all others: a record that was edited counts no longer.\n"
        "`Scores` map each task's metrics, `loss` among them, to values; `null` is a number that was not finite, "
        "and in a finished run a metric that the split's targets do not define. A task without any target in the split "
        "has `targets` 0 instead of a loss.\n"
    )
    return text + "".join(f"\n## {model.__name__}\n\n{model.__doc__}\n\n{_rows(model)}" for model in _models(Record))


def _models(model: type[Part]) -> Iterator[type[Part]]:
    yield model
    for field in model.model_fields.values():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, Part):
                yield from _models(part)


def _rows(model: type[Part]) -> str:
    lines = ["| key | type | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        kind = (
            model.__annotations__[name]
            .replace("|", "or")
            .replace("Count", "int")
            .replace("Number", "float")
            .replace("Measured", "float")
        )
        lines.append(f"| `{name}` | {kind} | {field.description or ''} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(document(), end="")
