"""What probes and studies left beside records, as figures read it. A damaged file is named and left out."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mola.files import with_checksum
from mola.registry import explain
from mola.terminal import say
from mola.types import one_line

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, le=1 + 1e-6)]
Size = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
# null: not finite
Gram = list[list[Number | None]]
# of the tables of a study: the columns that hold numbers
NUMBERS = {"history.csv": ("trial", "value", "best"), "importance.csv": ("importance",)}
TEXTS = {"history.csv": ("state",), "importance.csv": ("knob",)}
# as mola.tuning.result calls it, which loads optuna
SUMS = "SHA256SUMS"
CHANGED = "the file was changed since it was written, or has no checksum"


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow")


class _Epoch(_Part):
    epoch: Annotated[int, Field(strict=True, ge=0)]
    grams: list[dict[str, Gram]]


class _Gradients(_Part):
    epochs: list[_Epoch]

    @model_validator(mode="after")
    def _alike(self) -> _Gradients:
        batches = [(len(epoch.grams), gram) for epoch in self.epochs for gram in epoch.grams]
        shapes = {(n, *((stage, len(gram), *map(len, gram)) for stage, gram in batch.items())) for n, batch in batches}
        square = all(len(row) == len(gram) for _, batch in batches for gram in batch.values() for row in gram)
        if len(shapes) > 1 or not square:
            raise ValueError("expected square Gram matrices of the same stages and tasks in every batch")
        return self


class _Routing(_Part):
    weights: dict[str, Annotated[list[list[Share]], Field(min_length=1)]] = {}
    sizes: dict[str, list[Size]] = {}

    @model_validator(mode="after")
    def _alike(self) -> _Routing:
        if len({len(image) for images in self.weights.values() for image in images}) > 1:
            raise ValueError("expected a weight for every expert and image")
        return self


class _Analysis(_Part):
    fingerprint: str
    sha256: str = ""
    gradients: _Gradients | None = None
    routing: _Routing | None = None


def probed(path: Path) -> Mapping[str, Any]:
    """What the probes of a run measured; empty where there is no such file, or a damaged one."""
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        _Analysis.model_validate(content)
        if with_checksum(content) != content:
            raise ValueError(CHANGED)
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        return _left_out(path, explain(error, "").removeprefix(": "))
    except (OSError, ValueError, RecursionError) as error:
        return _left_out(path, f"{type(error).__name__}: {error}")
    return content


def studied(path: Path) -> pd.DataFrame | None:
    """A table that a study wrote; None where there is no such file, or one that is damaged or has no checksum."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        _left_out(path, f"{type(error).__name__}: {error}")
        return None
    try:
        line = f"{hashlib.sha256(content).hexdigest()}  {path.name}"
        sums = path.with_name(SUMS)
        if not sums.is_file() or line not in sums.read_text().splitlines():
            raise ValueError(CHANGED)
        table = pd.read_csv(io.BytesIO(content))
        for column in NUMBERS[path.name]:
            table[column] = pd.to_numeric(table[column])
        for column in TEXTS[path.name]:
            table[column] = table[column].astype(str)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, pd.errors.ParserError) as error:
        _left_out(path, f"{type(error).__name__}: {error}")
        return None
    return table


def _left_out(path: Path, problem: str) -> Mapping[str, Any]:
    say(one_line(f"{path}: left out of the figures, damaged: {problem}"))
    return {}
