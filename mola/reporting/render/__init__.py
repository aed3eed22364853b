"""A table as CSV (full precision), Markdown, LaTeX (booktabs) and HTML."""

from mola.reporting.render.csv import csv_text, several, to_csv
from mola.reporting.render.html import tables_page, to_html
from mola.reporting.render.latex import to_latex
from mola.reporting.render.markdown import to_markdown

# by the file's ending
RENDERERS = {"csv": to_csv, "md": to_markdown, "tex": to_latex, "html": to_html}

__all__ = ["RENDERERS", "csv_text", "several", "tables_page", "to_csv", "to_html", "to_latex", "to_markdown"]
