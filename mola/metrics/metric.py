"""What a metric is, without torch: tables and planning need no more."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from mola.types import Direction

SMALLEST = 1e-6  # what a metric of 0 counts as where its logarithm is taken


@dataclass(frozen=True)
class Unit:
    """How numbers of a unit are printed: times ``factor``, with so many ``digits``, and ``suffix`` behind the title."""

    suffix: str
    factor: int
    digits: int


FRACTION = Unit(" (%)", 100, 2)  # in [0, 1], higher is better
METRES = Unit(" (m)", 1, 4)
RATIO = Unit("", 1, 4)
DEGREES = Unit(" (°)", 1, 2)
TARGET = Unit("", 1, 4)  # whatever unit the targets have


@dataclass(frozen=True)
class Metric:
    """A number that measures a task over a whole split.

    compute: from what the accumulator of its kind of task has collected, to a number or a tensor ().
    title:   what tables print; the name with spaces where it is empty.
    gain:    how it enters Δ: ``relative`` to the reference's value, or the ``absolute`` difference, for a metric that
             may be 0 or negative, such as Cohen's kappa; a difference of 0.01 then counts as one percent.
    needs:   what a split's targets must have for it, where not any targets will do; ``compute`` gives NaN without.
    """

    name: str
    unit: Unit
    compute: Callable[[Any], Any]
    better: Direction = "higher"
    title: str = ""
    gain: Literal["relative", "absolute"] = "relative"
    needs: str = ""

    @property
    def words(self) -> str:
        """The title, or the name in words."""
        return self.title or self.name.replace("_", " ")

    @property
    def label(self) -> str:
        """The title with its unit."""
        return self.words + self.unit.suffix

    @property
    def averaged(self) -> bool:
        """Whether its mean over tasks means something."""
        return self.unit == FRACTION

    def undefined(self, base: float) -> bool:
        """Whether there is no gain over this value of the reference."""
        return self.gain == "relative" and base == 0

    def gain_over(self, value: float, base: float) -> float:
        """±(m − b)/b, or ±(m − b) where it is absolute; positive is better. NaN where it is not defined."""
        if self.undefined(base):
            return math.nan
        gain = (value - base) / base if self.gain == "relative" else value - base
        return gain if self.better == "higher" else -gain

    def level(self, value: float) -> float:
        """A scale on which gains are differences, higher is better: ±log m, or ±m where it is absolute."""
        level = math.log(max(value, SMALLEST)) if self.gain == "relative" else value
        return level if self.better == "higher" else -level
