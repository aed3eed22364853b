"""Files that are whole or not there at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def write_text(path: Path, text: str) -> None:
    """Write by rename: a kill leaves the old file or the new one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, content: object, indent: int | None = 1) -> None:
    """Write JSON by rename. NaN becomes null: JSON has none."""
    write_text(path, json.dumps(_without_nan(content), indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint by rename."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    torch.save(dict(state), temporary)
    temporary.replace(path)


def load(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """The checkpoint of a run with this fingerprint, on the CPU; None where there is none, or one of another run."""
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state if state["fingerprint"] == fingerprint else None


def _without_nan(content: object) -> object:
    if isinstance(content, float):
        return content if content == content and abs(content) != float("inf") else None
    if isinstance(content, Mapping):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return content
