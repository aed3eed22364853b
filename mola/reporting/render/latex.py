"""LaTeX with booktabs."""

from __future__ import annotations

import re

from mola.reporting.render.text import label, lines, one_line, text
from mola.reporting.tables.layout import Table, with_marks

ESCAPES = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "Δ": r"$\Delta$",
    "–": "--",
    "−": "$-$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "…": r"\dots{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "×": r"$\times$",
    "°": r"$^\circ$",
    "²": "$^2$",
    "<": "$<$",
    ">": "$>$",
}
# what escaping makes of Δ_task; it becomes one symbol with a subscript
DELTA = re.compile(r"\$\\Delta\$\\_(task|flat)")
EMPHASIS = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", None: "{}"}


def to_latex(table: Table) -> str:
    """A table float for a document that loads booktabs and graphicx; as wide as the text at most. Cited columns stand
    behind a rule.
    """
    columns = with_marks(table)
    first_cited = next((i for i, (column, _) in enumerate(columns) if column.cited), None)
    layout = "l" + "".join("|r" if i == first_cited else "r" for i in range(len(columns)))
    body = [_row(["", *(escape(column.title) for column, _ in columns)]), r"\midrule"]
    for number, (heading, members) in enumerate(table.headed()):
        if number:
            body.append(r"\midrule")
        if heading:
            body.append(rf"\multicolumn{{{len(columns) + 1}}}{{l}}{{\emph{{{escape(heading)}}}}} \\")
        for row in members:
            cells = (_value(text(table, c, row), c.cited, marks.get(row)) for c, marks in columns)
            body.append(_row([escape(label(table, row)), *cells]))
    inside = "\n".join([rf"\begin{{tabular}}{{{layout}}}", r"\toprule", *body, r"\bottomrule", r"\end{tabular}"])
    notes = "".join(f"\n\\par\\smallskip\\footnotesize {escape(note)}" for note in lines(table))
    caption = f"\\caption{{{escape(table.caption)}}}\n\\label{{tab:{re.sub(r'[^a-z0-9]+', '-', table.title.lower())}}}"
    # only when too wide: \resizebox alone would enlarge a small table
    fitted = (
        f"\\sbox0{{%\n{inside}}}\\ifdim\\wd0>\\linewidth\\resizebox{{\\linewidth}}{{!}}{{\\usebox0}}\\else\\usebox0\\fi"
    )
    head = "\\begin{table}\n\\centering\n\\setlength{\\tabcolsep}{3pt}"
    return f"{head}\n{caption}\n\\par\\medskip\n{fitted}{notes}\n\\end{{table}}\n"


def escape(plain: str) -> str:
    """Text for LaTeX without a Unicode engine. A line's end becomes a space: an empty line would end the argument."""
    escaped = "".join(ESCAPES.get(character, character) for character in one_line(plain))
    return DELTA.sub(r"$\\Delta_\\mathrm{\1}$", escaped)


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _value(number: str, cited: bool, mark: str | None) -> str:
    """An interval is set small: the mean is what the eye looks for, and more columns fit."""
    whole = escape(number)
    mean, plus_minus, half_width = whole.partition(r" $\pm$ ")
    if plus_minus:
        whole = f"{mean}{{\\scriptsize\\,$\\pm$\\,{half_width}}}"
    elif number.endswith("]"):
        mean, _, ends = whole.partition(" [")
        whole = f"{mean} {{\\scriptsize[{ends}}}"
    return rf"\emph{{{whole}}}" if cited else EMPHASIS[mark].format(whole)
