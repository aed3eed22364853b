"""GitHub's Markdown."""

from __future__ import annotations

import re

from mola.reporting.render.text import label, lines, one_line, text
from mola.reporting.tables.layout import Table, with_marks

EMPHASIS = {"best": "**{}**", "second": "<u>{}</u>", None: "{}"}


def to_markdown(table: Table) -> str:
    """Best in bold, second best underlined, cited numbers in italics, headings of groups in rows of their own."""
    columns = with_marks(table)
    titles = [f"*{escape(column.title)}*" if column.cited else escape(column.title) for column, _ in columns]
    rows = [[table.first, *titles], ["---", *("---:" for _ in columns)]]
    for heading, members in table.headed():
        if heading:
            rows.append([f"*{escape(heading)}*", *("" for _ in columns)])
        rows += [
            [escape(label(table, row)), *(_value(text(table, c, row), c.cited, m.get(row)) for c, m in columns)]
            for row in members
        ]
    body = [f"| {' | '.join(cells)} |" for cells in rows]
    notes = ["Notes:", "", *(f"- {escape(note)}" for note in lines(table))] if lines(table) else []
    return "\n".join([f"# {escape(table.title)}", "", *body, "", escape(table.caption), "", *notes]).rstrip() + "\n"


def escape(plain: str) -> str:
    """Text that neither ends its cell or line nor begins a tag of HTML, an image, or a link with words of its own."""
    text = one_line(plain).replace("\\|", r"\\|").replace("|", r"\|").replace("](", r"]\(")
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def _value(number: str, cited: bool, mark: str | None) -> str:
    return f"*{escape(number)}*" if cited and number != "–" else EMPHASIS[mark].format(escape(number))
