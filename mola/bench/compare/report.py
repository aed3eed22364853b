"""Parts of a comparison, as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mola.bench.report import Row, surroundings, table
from mola.bench.workloads import Setting, Workload

PACKAGES = ("peft", "torchjd")


@dataclass(frozen=True)
class Part:
    """Rows with their ratios to the first, and remarks on what was refused and how far results differ."""

    title: str
    rows: list[Row]
    remarks: list[str]

    def __str__(self) -> str:
        return "\n".join([self.title, table(self.rows), *self.remarks])


def as_json(workload: Workload, setting: Setting, repeats: int, parts: list[Part]) -> dict[str, Any]:
    """The parts with what they were measured on."""
    around = surroundings(setting.device)
    around["versions"] |= {package: number for package in PACKAGES if (number := _version(package))}
    return {
        "workload": asdict(workload),
        "setting": asdict(setting),
        "repeats": repeats,
        **around,
        "parts": [asdict(part) for part in parts],
    }


def first_line(error: Exception) -> str:
    """The error's first line, with its class."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
