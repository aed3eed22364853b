"""Draw all figures of a suite: ``results/<suite>/figures/``."""

from __future__ import annotations

import importlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pandas as pd

from mola.config import Suite
from mola.reporting.figures._looks import Looks, looks, styled
from mola.reporting.figures._save import save
from mola.reporting.figures._source import sources


def names() -> tuple[str, ...]:
    """All figures that there are, sorted."""
    return tuple(sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_")))


def write_figures(suite: Suite, drafts: bool = False) -> tuple[list[Path], list[str]]:
    """``<benchmark>.<figure>.{png,svg,csv}``, and ``summary.<figure>.…`` of those over all benchmarks: (the files, and
    a line per figure about what was not made). Figures of before are removed first: none outlives its data.
    """
    folder = suite.folder / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for ending in ("png", "svg", "csv"):
        for path in folder.glob(f"*.*.{ending}"):
            path.unlink()
    found, styles = sources(suite, drafts), looks(list(suite.methods))
    written: list[Path] = []
    missing: dict[tuple[str, str], list[str]] = defaultdict(list)
    with styled():
        for name in names():
            module = importlib.import_module(f"mola.reporting.figures.{name}")
            tables = (
                {"summary": module.suite_data(found)}
                if hasattr(module, "suite_data")
                else {source.benchmark: module.data(source) for source in found}
            )
            for place, table in tables.items():
                if table.empty:
                    missing[name, module.NEEDS].append(place)
                else:
                    written += _drawn(module, table, styles, folder / f"{place}.{name}")
    told = [f"not made: {name} of {', '.join(where)}: needs {needs}" for (name, needs), where in missing.items()]
    return written, told


def _drawn(module: Any, table: pd.DataFrame, styles: Looks, stem: Path) -> list[Path]:
    return save(module.draw(table, styles), table, stem)
