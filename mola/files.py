"""Files that are whole or not there at all: the one place that writes by renaming."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path


def write(path: Path, save: Callable[[Path], object]) -> None:
    """Let ``save`` write a file beside ``path``, and rename it there: a kill leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        save(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8."""
    write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: object, indent: int | None = 1) -> None:
    """Write JSON. What is not finite becomes null: JSON has neither NaN nor infinities."""
    write_text(path, json.dumps(_finite(content), indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def _finite(content: object) -> object:
    if isinstance(content, float):
        return content if content == content and abs(content) != float("inf") else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return content
