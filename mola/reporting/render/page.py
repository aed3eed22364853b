"""The frame of every page of HTML: it asks for nothing outside itself, and fits a desk and a phone."""

from __future__ import annotations

from html import escape

FRAME = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
body {{margin: 1em; background: #fff}}
{style}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def page(title: str, body: str, style: str) -> str:
    """A page. title: plain text; body: HTML; style: CSS."""
    return FRAME.format(title=escape(title), body=body, style=style)
