"""dvc.yaml names files, columns and rows that config/config.yaml decides; DVC leaves out unseen what differs."""

import importlib
from pathlib import Path

import pytest
import yaml
from synthetic import fill

from mola.config import load
from mola.reporting.figures._source import sources
from mola.reporting.results.curves import curves

ROOT = Path(__file__).parents[2]
CONFIG = Path("config/config.yaml")
TOLD = yaml.safe_load((ROOT / "dvc.yaml").read_text())
PLOTS = {
    Path(place): shown
    for plot in TOLD["plots"]
    for place, shown in (plot.items() if isinstance(plot, dict) else [(plot, None)])
}
CURVES = [place for place in PLOTS if place.suffix == ".csv"]
PICTURES = [place for place in PLOTS if place.suffix == ".png"]


@pytest.fixture(scope="module")
def produced(tmp_path_factory):
    """Benchmark → what that suite's tables and figures are made from, of made records of one seed."""
    folder = tmp_path_factory.mktemp("made")
    content = yaml.safe_load((ROOT / CONFIG).read_text())
    path = folder / "suite.yaml"
    # what is drawn of tuning is no part of dvc.yaml
    elsewhere = {"results": str(folder), "data": str(folder / "data"), "seeds": 1, "tune": None}
    path.write_text(yaml.safe_dump(content | elsewhere, sort_keys=False))
    suite = load(path)
    fill(suite, lambda benchmark, method, seed: 0.5, epochs=2)
    return {source.benchmark: source for source in sources(suite)}


def test_the_suite_is_the_one_that_the_stage_makes(produced):
    suite = load(ROOT / CONFIG)
    (folder,) = TOLD["stages"]["results"]["outs"][0]
    assert Path(folder) == suite.folder and str(CONFIG) in TOLD["stages"]["results"]["deps"]
    assert TOLD["metrics"] == [f"{suite.folder}/tables/metrics.json"]
    assert {*PLOTS} == {*CURVES, *PICTURES}
    assert [suite.folder / "tables" / f"{name}.curves.csv" for name in suite.benchmarks] == CURVES


@pytest.mark.parametrize("place", CURVES, ids=str)
def test_the_columns_of_curves_are_the_suites_methods(produced, place):
    columns = curves(produced[place.name.removesuffix(".curves.csv")].results).columns
    assert [PLOTS[place]["x"], *PLOTS[place]["y"]] == list(columns)


@pytest.mark.parametrize("place", PICTURES, ids=str)
def test_the_figures_are_some_that_the_suite_makes(produced, place):
    benchmark, figure, _ = place.name.split(".")
    assert place.parent == load(ROOT / CONFIG).folder / "figures"
    assert len(importlib.import_module(f"mola.reporting.figures.{figure}").data(produced[benchmark]))
