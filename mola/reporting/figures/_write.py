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
from mola.reporting.figures._looks import Looks, looks, styled
from mola.reporting.figures._save import save
from mola.reporting.figures._source import Source, sources

Work = tuple[str, pd.DataFrame, Path, Looks]  # figure, table, where, looks
WORTH = 8  # figures that are worth a process: it starts for seconds


def names() -> tuple[str, ...]:
    """All figures that there are, sorted."""
    return tuple(sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_")))


def write_figures(suite: Suite, drafts: bool = False, jobs: int = 1) -> tuple[list[Path], list[str]]:
    """``<benchmark>.<figure>.{png,svg,csv}``, and ``summary.<figure>.…`` of those over all benchmarks: (the files, and
    a line per figure about what was not made). Figures of before are removed first: none outlives its data.

    drafts: also show runs of code that is in no commit.
    jobs:   processes that draw.
    """
    folder = suite.folder / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for ending in ("png", "svg", "csv"):
        for path in folder.glob(f"*.*.{ending}"):
            path.unlink()
    found = sources(suite, drafts)
    work: list[Work] = []
    missing: list[str] = []
    for name in names():
        tables = _tables(name, found)
        work += [
            (name, table, folder / f"{place}.{name}", looks([*suite.methods]))
            for place, table in tables.items()
            if len(table)
        ]
        if empty := [place for place, table in tables.items() if table.empty]:
            missing.append(f"not made: {name} of {', '.join(empty)}: needs {_module(name).NEEDS}")
    jobs = min(jobs, len(work) // WORTH)
    if jobs < 2:
        return [path for one in work for path in _drawn(one)], missing
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:  # a fork would copy the threads of BLAS half-alive
        return [path for paths in pool.map(_drawn, work) for path in paths], missing


def _tables(name: str, found: Sequence[Source]) -> Mapping[str, pd.DataFrame]:
    module = _module(name)
    if hasattr(module, "suite_data"):
        return {"summary": module.suite_data(found)}
    return {source.benchmark: module.data(source) for source in found}


def _drawn(work: Work) -> list[Path]:
    name, table, stem, styles = work
    with styled():
        return save(_module(name).draw(table, styles), table, stem)


def _module(name: str) -> Any:
    return importlib.import_module(f"mola.reporting.figures.{name}")
