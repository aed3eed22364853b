"""Text in CSV files that a spreadsheet does not run as a formula."""

from __future__ import annotations


def no_formula(value: object) -> object:
    """Text that begins with ``= + - @`` with a ``'`` in front, and any other value as it is."""
    if isinstance(value, str) and value.lstrip().startswith(("=", "+", "-", "@")):
        return f"'{value}"
    return value
