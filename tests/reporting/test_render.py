"""Any text can stand in a table: it neither ends its entry, nor becomes code of the form that it is written in."""

import csv
import io
import re

import pandas as pd
import pytest

from mola.reporting.pages.about import about
from mola.reporting.render import csv_text, several, tables_page, to_csv, to_html, to_latex, to_markdown
from mola.reporting.render.latex import escape
from mola.reporting.tables.layout import Column, Estimate, Table

HOSTILE = "a|b\n\n<script>alert(1)</script> $x_1^2 & 50% #{}~\\"


def table(label, **changes):
    column = Column("average", "average <b>|", (Estimate(-1.5, 0.25, 2), None), signed=True)
    content = {"title": "t", "labels": (label, "other"), "columns": (column,), "caption": label, "notes": (label,)}
    return Table(**content | {"groups": (label, label)} | changes)


@pytest.mark.parametrize(
    ("character", "expected"),
    [
        ("$", r"\$"),
        ("&", r"\&"),
        ("%", r"\%"),
        ("#", r"\#"),
        ("_", r"\_"),
        ("{", r"\{"),
        ("}", r"\}"),
        ("~", r"\textasciitilde{}"),
        ("^", r"\textasciicircum{}"),
        ("\\", r"\textbackslash{}"),
        ("<", "$<$"),
        ("±", r"$\pm$"),
        ("\n\n", "  "),
    ],
)
def test_latex_escapes(character, expected):
    assert escape(f"a{character}b") == f"a{expected}b"


def test_latex_of_hostile_text_has_balanced_mathematics_and_no_empty_line():
    text = to_latex(table(HOSTILE))
    assert "\n\n" not in text and text.count(r"50\% \#\{\}\textasciitilde{}\textbackslash{}") == 4
    plain = re.sub(r"\\[$%&#_{}]", "", text)
    assert plain.count("$") % 2 == 0 and plain.count("{") == plain.count("}")


def test_markdown_of_hostile_text_keeps_its_columns_and_has_no_tag():
    text = to_markdown(table(HOSTILE))
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 5 and {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}
    assert "<script" not in text and "&lt;script>alert(1)&lt;/script>" in text and "<b>" not in text
    assert "p < 0.05, <.001" in to_markdown(table("a", notes=("p < 0.05, <.001",))), "no tag begins there"


def test_csv_quotes_formulas_and_no_number():
    for first in ("=", "+", "-", "@", "\t=", "\r=", "\n@"):
        text = to_csv(table(f"{first}cmd|' /C calc'!A0", groups=()))
        rows = list(csv.reader(io.StringIO(text, newline="")))
        assert rows[1][0] == f"'{first}cmd|' /C calc'!A0".replace("\r", " ").replace("\n", " ")
        assert len(rows) == 3 and rows[1][1] == "-1.5"
    assert "'=x" in several({"digits": table("a", groups=("=x", "b"))})
    assert csv_text(pd.DataFrame({"@SUM(A1)": [1.0], "-1": [2.0]})) == "'@SUM(A1),'-1\n1,2\n", "titles, too"
    assert to_csv(table("a=b", groups=())).splitlines()[1].startswith("a=b,")


def test_csv_has_no_rounding_of_nothing():
    numbers = pd.DataFrame({"of": list("abcd"), "share": [5e-30, -0.0, -1e-17, 1e-9]})
    assert csv_text(numbers) == "of,share\na,0\nb,0\nc,0\nd,1e-09\n"


def test_pages_have_one_frame(tmp_path):
    from synthetic import make_suite

    pages = [
        to_html(table(HOSTILE, title="<i>")),
        tables_page("<i>", [table(HOSTILE)] * 2),
        about(make_suite(tmp_path, seeds=1), "a: <b>"),
    ]
    for page in pages:
        assert page.startswith('<!DOCTYPE html>\n<html lang="en">') and page.endswith("</main>\n</body>\n</html>\n")
        assert page.count("<html") == page.count("<style>") == page.count("<body>") == 1
        assert "<script" not in page and "<i>" not in page and "http" not in page
    heads = {re.sub(r"<title>.*</title>|<style>.*</style>", "", page.split("<body>")[0], flags=re.S) for page in pages}
    assert len(heads) == 1
