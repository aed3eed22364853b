"""What the figures of a benchmark are drawn from: records, what the watches saw, what tuning left."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mola.config import Suite
from mola.experiment import tuned
from mola.reporting.results.records import Cell
from mola.reporting.tables.layout import Results
from mola.reporting.tables.write import read_results
from mola.types import Task


@dataclass(frozen=True)
class Source:
    """One benchmark of a suite."""

    suite: Suite
    benchmark: str
    results: Results

    @property
    def tasks(self) -> Sequence[Task]:
        """The benchmark's, in their order."""
        return self.results.tasks

    @property
    def cells(self) -> Sequence[Cell]:
        """The rows, with the records that count."""
        return self.results.cells

    @property
    def asked(self) -> int:
        """How many seeds every row should have."""
        return len(self.suite.seeds)

    @cached_property
    def analyses(self) -> Mapping[str, Mapping[str, Any]]:
        """Label → what the watches saw in the suite's first seed; only of runs that count."""
        found = {}
        for cell in self.cells:
            for seed in [s for s in self.suite.seeds[:1] if s in cell.records]:
                told = _json(self.suite.cell(self.benchmark, cell.label) / f"seed{seed}" / "analysis.json")
                if told.get("fingerprint") == cell.records[seed]["fingerprint"]["all"]:
                    found[cell.label] = told
        return found

    def studies(self, name: str) -> Mapping[str, pd.DataFrame]:
        """Label → a table that its study wrote; only of studies that found what runs train with now: finished, of the
        search and of the number of trials asked for.
        """
        found = {}
        for cell in self.cells if self.suite.tune is not None else ():
            path = tuned.folder(self.suite, self.benchmark, cell.label) / name
            if tuned.read(self.suite, self.benchmark, cell.label) is not None and path.is_file():
                found[cell.label] = pd.read_csv(path)
        return found


def sources(suite: Suite, drafts: bool = False) -> list[Source]:
    """All benchmarks of the suite, with the records that its tables count."""
    return [Source(suite, name, results) for name, results in read_results(suite, drafts).items()]


def _json(path: Path) -> Mapping[str, Any]:
    """Empty where there is no such file, or one that can't be read: what it belongs to is then left out."""
    try:
        told = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
