"""A figure as PNG (screens, the report) and SVG (print), its table as CSV; the same bytes from the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mola.files import write, write_text
from mola.reporting.render import csv_text

DPI = 180


def save(figure: Figure, frame: pd.DataFrame, stem: Path) -> list[Path]:
    """Write ``<stem>.png``, ``.svg`` and ``.csv``."""
    png, svg, csv = (stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "svg", "csv"))
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    # it is laid out: SVG need not do it again
    figure.set_layout_engine(None)
    picture = _indexed(Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))  # type: ignore[no-untyped-call]
    write(png, lambda path: picture.save(path, format="png", dpi=(DPI, DPI)))
    write(svg, lambda path: figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None}))
    write_text(csv, csv_text(frame))
    return [png, svg, csv]


def _indexed(picture: Image.Image) -> Image.Image:
    """The picture in 128 colours. Of so few, white would be a little grey: it is set right."""
    indexed = picture.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette, background = indexed.getpalette() or [], indexed.getpixel((0, 0))
    assert isinstance(background, int)
    palette[3 * background : 3 * background + 3] = 255, 255, 255
    indexed.putpalette(palette)
    return indexed
