"""Where things stand on the page: the same name for a link and for what it leads to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mola.config import Suite
from mola.reporting.figures._style import slots_of


@dataclass(frozen=True)
class Places:
    """Ids by number, as labels may hold any character; and the colours of rows.

    slots:  row → number of its colour.
    legend: what a colour says → its number: headings, where colours are those of headings; else empty.
    """

    benchmarks: Sequence[str]
    rows: Sequence[str]
    slots: Mapping[str, int]
    legend: Mapping[str, int]

    def runs(self, benchmark: str, row: str) -> str:
        """The id of what is known of a row's runs on a benchmark."""
        return f"runs-{self.benchmarks.index(benchmark)}-{self.rows.index(row)}"

    def benchmark(self, benchmark: str) -> str:
        """The id of a benchmark's part."""
        return f"benchmark-{self.benchmarks.index(benchmark)}"


def places_of(suite: Suite) -> Places:
    """The places of a suite's page."""
    labels, groups = list(suite.methods), [entry.group for entry in suite.methods.values()]
    slots = slots_of(labels, groups)
    by_heading = len({*slots.values()}) < len(labels) and any(groups)
    legend = {group or "others": slots[label] for label, group in zip(labels, groups, strict=True)}
    return Places(list(suite.benchmarks), labels, slots, legend if by_heading else {})
