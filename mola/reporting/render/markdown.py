"""GitHub's Markdown."""

from __future__ import annotations

from mola.reporting.render.text import label, lines, text
from mola.reporting.tables.layout import Table, with_marks

LOOKS = {"best": "**{}**", "second": "<u>{}</u>", None: "{}"}


def to_markdown(table: Table) -> str:
    """Best in bold, second best underlined, cited numbers in italics, headings of groups in rows of their own."""
    columns = with_marks(table)
    titles = [f"*{column.title}*" if column.cited else column.title for column, _ in columns]
    rows = [["method", *titles], ["---", *("---:" for _ in columns)]]
    for heading, members in table.headed():
        if heading:
            rows.append([f"*{heading}*", *("" for _ in columns)])
        rows += [
            [label(table, row), *(_cell(text(table, c, row), c.cited, m.get(row)) for c, m in columns)]
            for row in members
        ]
    body = [f"| {' | '.join(cells)} |" for cells in rows]
    notes = ["Notes:", "", *(f"- {note}" for note in lines(table))] if lines(table) else []
    return "\n".join([f"# {table.title}", "", *body, "", table.caption, "", *notes]).rstrip() + "\n"


def _cell(told: str, cited: bool, mark: str | None) -> str:
    return f"*{told}*" if cited and told != "–" else LOOKS[mark].format(told)
