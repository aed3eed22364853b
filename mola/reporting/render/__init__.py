"""A table as CSV (full precision), Markdown, LaTeX (booktabs) and HTML."""

from mola.reporting.render.html import STYLE, fragment, page, to_html
from mola.reporting.render.latex import to_latex
from mola.reporting.render.markdown import to_markdown
from mola.reporting.render.values import several, to_csv

RENDERERS = {"csv": to_csv, "md": to_markdown, "tex": to_latex, "html": to_html}  # by the file's ending

__all__ = ["RENDERERS", "STYLE", "fragment", "page", "several", "to_csv", "to_html", "to_latex", "to_markdown"]
