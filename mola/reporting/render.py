"""A table as CSV (full precision), Markdown and LaTeX (booktabs)."""

from __future__ import annotations

import math
import re

import pandas as pd

from mola.reporting.columns import Column, Estimate
from mola.reporting.tables import Table, marks

ESCAPES = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "Δ": r"$\Delta$",
}
ESCAPES |= {"–": "--", "−": "$-$", "†": r"$^\dagger$", "…": r"\dots{}"}
ESCAPES |= {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "°": r"$^\circ$", "<": "$<$", ">": "$>$"}

DELTA = re.compile(r"\$\\Delta\$\\_(task|flat)")  # as escaped → one symbol with a subscript


def to_csv(table: Table) -> str:
    """A row per method; for every column the mean, ``<key>_ci95`` (half-width) and ``<key>_n`` (seeds)."""
    data: dict[str, list[object]] = {"method": list(table.labels)}
    for column in table.columns:
        data[column.key] = [None if e is None else e.mean for e in column.estimates]
        if column.interval:
            data[f"{column.key}_ci95"] = [
                None if e is None or math.isnan(e.half_width) else e.half_width for e in column.estimates
            ]
            data[f"{column.key}_n"] = [0 if e is None else e.n for e in column.estimates]
    return pd.DataFrame(data).to_csv(index=False, float_format="%.6g", lineterminator="\n")


def to_markdown(table: Table) -> str:
    """GitHub's Markdown: best in bold, second best underlined."""
    rows = [["method", *(column.title for column in table.columns)], ["---", *("---:" for _ in table.columns)]]
    looks = {"best": "**{}**", "second": "<u>{}</u>", None: "{}"}
    for row, label in enumerate(table.labels):
        rows.append(
            [
                _label(table, label),
                *(looks[marks(table, c).get(row)].format(_text(c, c.estimates[row])) for c in table.columns),
            ]
        )
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    notes = ["Notes:", "", *(f"- {note}" for note in _notes(table))] if _notes(table) else []
    return "\n".join([f"# {table.title}", "", *lines, "", table.caption, "", *notes]).rstrip() + "\n"


def to_latex(table: Table) -> str:
    """A table float for a document that loads booktabs and graphicx; as wide as the text at most."""
    looks = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", None: "{}"}
    frame = pd.DataFrame(
        {
            _escape(c.title): [
                looks[marks(table, c).get(row)].format(_cell(_text(c, e))) for row, e in enumerate(c.estimates)
            ]
            for c in table.columns
        },
        index=pd.Index([_escape(_label(table, label)) for label in table.labels]),
    )
    body = frame.style.to_latex(hrules=True, column_format="l" + "r" * len(table.columns)).strip()
    notes = "".join(f"\n\\par\\smallskip\\footnotesize {_escape(note)}" for note in _notes(table))
    caption = f"\\caption{{{_escape(table.caption)}}}\n\\label{{tab:{re.sub(r'[^a-z0-9]+', '-', table.title.lower())}}}"
    # adjust only when too wide: \resizebox alone would blow a small table up
    fitted = (
        f"\\sbox0{{%\n{body}}}\\ifdim\\wd0>\\linewidth\\resizebox{{\\linewidth}}{{!}}{{\\usebox0}}\\else\\usebox0\\fi"
    )
    head = "\\begin{table}\n\\centering\n\\setlength{\\tabcolsep}{3pt}"
    return f"{head}\n{caption}\n\\par\\medskip\n{fitted}{notes}\n\\end{{table}}\n"


def _cell(text: str) -> str:
    """The half-width is set small: the mean is what the eye looks for, and more columns fit."""
    mean, plus_minus, half_width = _escape(text).partition(r" $\pm$ ")
    return f"{mean}{{\\scriptsize\\,$\\pm$\\,{half_width}}}" if plus_minus else mean


def _text(column: Column, value: Estimate | None) -> str:
    if value is None or math.isnan(value.mean):
        return "–"
    number = f"{value.mean:{'+' if column.signed else ''}.{column.digits}f}".replace("-", "−")
    return (
        f"{number} ± {value.half_width:.{column.digits}f}"
        if column.interval and not math.isnan(value.half_width)
        else number
    )


def _label(table: Table, label: str) -> str:
    return f"{label} †" if label in table.incomplete else label


def _notes(table: Table) -> tuple[str, ...]:
    return (
        *(["† not every seed is there; such a row is never marked as best."] if table.incomplete else []),
        *table.notes,
    )


def _escape(text: str) -> str:
    escaped = "".join(ESCAPES.get(character, character) for character in text)
    return DELTA.sub(r"$\\Delta_\\mathrm{\1}$", escaped)
