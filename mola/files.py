"""Files that are whole or not there at all: the one place that writes by renaming."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

CHECKSUM = "sha256"  # the key of a file's own checksum
# of this machine: processes of others, on a shared disk, are not looked for here
HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]


def write(path: Path, save: Callable[[Path], object], old: Path | None = None) -> None:
    """Let ``save`` write a file beside ``path``, and rename it there once it is on the disk: a kill leaves the old file
    or the new one. What dead processes left of the same file is removed.

    old: where the file that was there is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, path.name)
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{HOST}.tmp")
    try:
        save(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        if old is not None and path.exists():
            path.replace(old)
        temporary.replace(path)
    finally:
        # a folder that has become read-only says so where it was written to
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    _sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8."""
    write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: object, indent: int | None = 1) -> None:
    """Write JSON. What is not finite becomes null: JSON has neither NaN nor infinities."""
    write_text(path, json.dumps(_finite(content), indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def with_checksum(content: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data, as JSON can have it, with a sha256 of all other keys, which shows whether the file was changed."""
    rest = {key: _finite(value) for key, value in content.items() if key != CHECKSUM}
    return {**rest, CHECKSUM: hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()}


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what other processes left of unfinished files: of one ``name``, those that have died on this machine; of
    all in a folder, which the caller holds, those of any machine.
    """
    # 0.1.0 named no machine
    host = "[0-9a-f]{6}" if name is None else HOST
    unfinished = re.compile(rf"{'.*' if name is None else re.escape(name)}\.(\d+)(-{host})?\.tmp", re.S)
    for path in folder.iterdir():
        if (match := unfinished.fullmatch(path.name)) and (name is None or not _is_alive(int(match[1]))):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _sync(folder: Path) -> None:
    """Have the renaming on the disk, too; a file system that can't do that for folders has it soon."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _finite(content: object) -> object:
    if isinstance(content, float):
        return content if content == content and abs(content) != float("inf") else None
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return content
