"""HTML: a page of one or several tables."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mola.reporting.render.page import page
from mola.reporting.render.text import in_parts, label, lines, text
from mola.reporting.tables.layout import Table, with_marks

STYLE = """
.mola-table {font: 15px/1.5 system-ui, sans-serif; color: #1b1b1b; max-width: 100%}
.mola-table .scroll {overflow-x: auto; -webkit-overflow-scrolling: touch}
.mola-table table {border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap}
.mola-table th, .mola-table td {padding: .25em .7em; text-align: right; border-bottom: 1px solid #ddd}
.mola-table thead th {white-space: normal; min-width: 3.5em; border-bottom: 2px solid #1b1b1b; vertical-align: bottom}
.mola-table th:first-child {text-align: left; position: sticky; left: 0; background: #fff}
.mola-table tbody th {font-weight: 600}
.mola-table th[colspan] {font-style: italic; font-weight: 400; color: #555}
.mola-table .best {font-weight: 700}
.mola-table .second {text-decoration: underline}
.mola-table .cited {font-style: italic; color: #555; background: #f4f1ea}
.mola-table .cited.first {border-left: 2px solid #1b1b1b}
.mola-table small {color: #555}
.mola-table .best small {font-weight: 400}
""".strip()


def to_html(table: Table) -> str:
    """A page of one table."""
    return tables_page(table.title, [table])


def tables_page(title: str, tables: Sequence[Table]) -> str:
    """A page of several; tables wider than the screen scroll by themselves."""
    return page(title, "\n".join(map(_section, tables)), STYLE)


def _section(table: Table) -> str:
    columns = with_marks(table)
    first = next((column.key for column, _ in columns if column.cited), None)
    classes = [["cited"] * column.cited + ["first"] * (column.key == first) for column, _ in columns]
    head = "".join(
        f'<th scope="col"{_class(names)}>{escape(c.title)}</th>' for (c, _), names in zip(columns, classes, strict=True)
    )
    body = []
    for heading, members in table.headed():
        body.append("<tbody>")
        if heading:
            body.append(f'<tr><th colspan="{len(columns) + 1}" scope="rowgroup">{escape(heading)}</th></tr>')
        for row in members:
            cells = "".join(
                f"<td{_class([*names, *filter(None, [marks.get(row)])])}>{_value(text(table, c, row))}</td>"
                for (c, marks), names in zip(columns, classes, strict=True)
            )
            body.append(f'<tr><th scope="row">{escape(label(table, row))}</th>{cells}</tr>')
        body.append("</tbody>")
    notes = "".join(f"<li>{escape(line)}</li>" for line in lines(table))
    return "\n".join(
        [
            '<section class="mola-table">',
            f"<h2>{escape(table.title)}</h2>",
            # by its tabindex the keyboard scrolls it, too
            '<div class="scroll" tabindex="0">',
            f'<table>\n<thead><tr><th scope="col">{table.first}</th>{head}</tr></thead>',
            *body,
            "</table>\n</div>",
            f"<p><small>{escape(table.caption)}</small></p>",
            *([f"<ul>{notes}</ul>"] if notes else []),
            "</section>",
        ]
    )


def _class(names: Sequence[str]) -> str:
    return f' class="{" ".join(names)}"' if names else ""


def _value(number: str) -> str:
    """The interval and n small."""
    mean, rest = in_parts(number)
    return f"{escape(mean)} <small>{escape(rest)}</small>" if rest else escape(mean)
