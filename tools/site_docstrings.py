"""Docstrings of this project as Markdown, for the reference of the site.

They list parameters as ``name: meaning`` with the meaning's other lines set in. Here such lines become a list.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import griffe

ENTRY = re.compile(r"^([a-z_]\w*(?:, [a-z_]\w*)*):\s+(.*)")
ROLE = re.compile(r":(?:func|class|mod|meth|data):`~?([\w.]+)`")


class AsMarkdown(griffe.Extension):  # type: ignore[misc]
    """Rewrites each docstring when it is collected."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """A docstring as Markdown: parameters as a list, references as code, examples as blocks."""
    lines: list[str] = []
    inside = False
    for line in inspect.cleandoc(text).splitlines():
        if match := ENTRY.match(line):
            # a list has to begin behind a blank line
            lines += [] if inside or not lines else [""]
            lines.append(f"- **{match[1]}**: {match[2]}")
            inside = True
        elif inside and line.startswith(" "):
            lines.append(f"    {line.strip()}")
        else:
            lines += [""] if inside and line else []
            inside = False
            lines.append("" if line == "::" else line)
    return ROLE.sub(r"`\1`", "\n".join(lines))
