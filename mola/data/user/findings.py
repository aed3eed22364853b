"""All that is wrong with a user's images, collected for one message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mola.types import Findings, one_line

SHOWN = 10  # places of a finding that are named
LONGEST = 160  # characters of a place


@dataclass
class Collected:
    """Findings by what they are, each with the places where it is so."""

    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, what: str, places: Iterable[str]) -> None:
        """Add places to a finding; without any there is none."""
        if places := list(places):
            self.places.setdefault(what, []).extend(places)

    def __bool__(self) -> bool:
        return bool(self.places)

    def lines(self) -> list[str]:
        """The findings, each with its number of places and the first of them below it."""
        lines = []
        for what, places in self.places.items():
            lines.append(f"  {what}: {len(places)}")
            lines += [f"    {one_line(place, LONGEST)}" for place in places[:SHOWN]]
            lines += [f"    … and {len(places) - SHOWN} more"] if len(places) > SHOWN else []
        return lines

    def refuse(self, where: object) -> None:
        """Raise Findings, where there are any."""
        if self:
            number = len(self.places)
            head = f"{where}: found {number} thing{'s' if number > 1 else ''} to put right; nothing was prepared"
            raise Findings(head, self.lines())
