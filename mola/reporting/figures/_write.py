"""Draw all figures of a suite: ``results/<suite>/figures/``. Each is a PNG (screens, the report), an SVG (print) and
its table as CSV; the same bytes from the same numbers.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from mola.config import Suite
from mola.files import write, write_text
from mola.reporting.figures._source import Source, sources
from mola.reporting.figures._style import Styles, styles_of, theme
from mola.reporting.render import csv_text

# the figure's name, its table, where it goes without the ending, and the styles of the rows
Drawing = tuple[str, pd.DataFrame, Path, Styles]
# figures that are worth a process, which takes seconds to start
PER_PROCESS = 8
DPI = 180


def names() -> tuple[str, ...]:
    """All figures that there are, sorted."""
    return tuple(sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_")))


def write_figures(suite: Suite, drafts: bool = False, jobs: int = 1) -> tuple[list[Path], list[str]]:
    """``<benchmark>.<figure>.{png,svg,csv}``, and ``summary.<figure>.…`` of those over all benchmarks: (the files, and
    a line per figure about what was not made). Older figures that were not drawn again are removed at the end: none
    outlives its data. All of them stay where no run counts, as tables do, or where drawing fails; but Snakemake removes
    the folder, which is its output, before it calls this.

    drafts: also show runs of code that is in no commit.
    jobs:   processes that draw.
    """
    folder = suite.folder / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    benchmarks, styles = sources(suite, drafts), styles_of_suite(suite)
    drawings: list[Drawing] = []
    missing: list[str] = []
    for name in names():
        tables = _tables(name, benchmarks)
        drawings += [(name, table, folder / f"{of}.{name}", styles) for of, table in tables.items() if len(table)]
        if empty := [of for of, table in tables.items() if table.empty]:
            missing.append(f"not made: {name} of {', '.join(empty)}: needs {_module(name).NEEDS}")
    paths = _drawn(drawings, min(jobs, len(drawings) // PER_PROCESS))
    if any(row.records for source in benchmarks for row in source.rows):
        _remove_older(folder, paths)
    return paths, missing


def _drawn(drawings: Sequence[Drawing], jobs: int) -> list[Path]:
    if jobs < 2:
        return [path for drawing in drawings for path in _draw(drawing)]
    # a fork would copy the threads of BLAS half-alive
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        return [path for paths in pool.map(_draw, drawings) for path in paths]


def _remove_older(folder: Path, drawn: Sequence[Path]) -> None:
    for ending in ("png", "svg", "csv"):
        for path in {*folder.glob(f"*.*.{ending}")} - {*drawn}:
            path.unlink()


def styles_of_suite(suite: Suite) -> Styles:
    """Of its rows: the same in every figure."""
    return styles_of([*suite.methods], [entry.group for entry in suite.methods.values()])


def _tables(name: str, benchmarks: Sequence[Source]) -> Mapping[str, pd.DataFrame]:
    module = _module(name)
    if hasattr(module, "suite_data"):
        return {"summary": module.suite_data(benchmarks)}
    return {source.benchmark: module.data(source) for source in benchmarks}


def _draw(drawing: Drawing) -> list[Path]:
    name, table, stem, styles = drawing
    # "$" would start mathematics, and a label that is none a traceback
    shown = table.map(_literal).rename(columns=_literal)
    with theme():
        figure = _module(name).draw(shown, {_literal(label): style for label, style in styles.items()})
        return _save(figure, table, stem)


def _save(figure: Figure, frame: pd.DataFrame, stem: Path) -> list[Path]:
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


def _literal(value: Any) -> Any:
    return value.replace("$", r"\$") if isinstance(value, str) else value


def _module(name: str) -> Any:
    return importlib.import_module(f"mola.reporting.figures.{name}")
