"""What a check says of a part that does not do what runs rely on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mola.faults import line_of, words
from mola.types import BadInput


class Fault(AssertionError):
    """Something that a part should do and does not, in one line: what was expected, and what there is."""


def require(fine: object, message: str) -> None:
    """Raise a Fault with the message unless ``fine`` is true."""
    if not fine:
        raise Fault(message)


def problems(checks: Callable[..., Any] | tuple[Callable[..., Any], ...], *arguments: Any) -> Iterator[str]:
    """What the checks say of their arguments, a line each, errors of the part's code with file and line. Equal lines
    come once.
    """
    lines: dict[str, None] = {}
    for check in checks if isinstance(checks, tuple) else (checks,):
        try:
            check(*arguments)
        except (Fault, BadInput) as error:
            lines[str(error)] = None
        except Exception as error:
            lines[line_of(error) or words(error)] = None
    yield from lines
