"""A figure as PNG (screens, the report) and SVG (print), its table as CSV; the same bytes from the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

DPI = 180


def save(figure: Figure, frame: pd.DataFrame, stem: Path) -> list[Path]:
    """Write ``<stem>.png``, ``.svg`` and ``.csv``."""
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "svg", "csv")]
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    figure.set_layout_engine(None)  # it is laid out: SVG need not do it again
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]
    picture.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(paths[0], dpi=(DPI, DPI))
    figure.savefig(paths[1], metadata={"Date": None, "Creator": None})
    frame.to_csv(paths[2], index=False, float_format="%.6g", lineterminator="\n")
    return paths
