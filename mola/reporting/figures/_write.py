"""Draw all figures of a suite: ``results/<suite>/figures/``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd

from mola.config import Suite
from mola.reporting.figures._save import save
from mola.reporting.figures._source import Source, sources
from mola.reporting.figures._style import Styles, styles_of, theme

# the figure's name, its table, where it goes without the ending, and the styles of the rows
Drawing = tuple[str, pd.DataFrame, Path, Styles]
# figures that are worth a process, which takes seconds to start
PER_PROCESS = 8


def names() -> tuple[str, ...]:
    """All figures that there are, sorted."""
    return tuple(sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_")))


def write_figures(suite: Suite, drafts: bool = False, jobs: int = 1) -> tuple[list[Path], list[str]]:
    """``<benchmark>.<figure>.{png,svg,csv}``, and ``summary.<figure>.…`` of those over all benchmarks: (the files, and
    a line per figure about what was not made). Older figures are removed first: none outlives its data.

    drafts: also show runs of code that is in no commit.
    jobs:   processes that draw.
    """
    folder = suite.folder / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for ending in ("png", "svg", "csv"):
        for path in folder.glob(f"*.*.{ending}"):
            path.unlink()
    benchmarks, styles = sources(suite, drafts), styles_of([*suite.methods])
    drawings: list[Drawing] = []
    missing: list[str] = []
    for name in names():
        tables = _tables(name, benchmarks)
        drawings += [(name, table, folder / f"{of}.{name}", styles) for of, table in tables.items() if len(table)]
        if empty := [of for of, table in tables.items() if table.empty]:
            missing.append(f"not made: {name} of {', '.join(empty)}: needs {_module(name).NEEDS}")
    jobs = min(jobs, len(drawings) // PER_PROCESS)
    if jobs < 2:
        return [path for drawing in drawings for path in _draw(drawing)], missing
    # a fork would copy the threads of BLAS half-alive
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        return [path for paths in pool.map(_draw, drawings) for path in paths], missing


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
        return save(figure, table, stem)


def _literal(value: Any) -> Any:
    return value.replace("$", r"\$") if isinstance(value, str) else value


def _module(name: str) -> Any:
    return importlib.import_module(f"mola.reporting.figures.{name}")
