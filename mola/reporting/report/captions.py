"""The captions of figures: those that Snakemake's report has, too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

from jinja2 import Template

_PACKAGE = Path(__file__).parents[2]
# in a wheel the workflow lies in the package, in a clone beside it
_PLACES = (_PACKAGE / "_shipped", _PACKAGE.parent)
_CAPTIONS = "workflow/report/figures.rst"


def caption(of: str, figure: str, config: Mapping[str, object]) -> str:
    """Plain text: the paragraphs about the figure, without the last one, which is about all figures.

    config: the content of the suite's file.
    """
    template = next(path for place in _PLACES if (path := place / _CAPTIONS).is_file())
    about = SimpleNamespace(config=config, wildcards=SimpleNamespace(of=of, figure=figure))
    text = Template(template.read_text(encoding="utf-8")).render(snakemake=about)
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return " ".join(filter(None, paragraphs[:-1])).replace("``", "")
