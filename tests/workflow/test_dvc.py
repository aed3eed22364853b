"""dvc.yaml names files that config/config.yaml decides; DVC leaves out unseen what differs."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from synthetic import fill, make_suite

from mola.config import load
from mola.reporting.figures._source import sources
from mola.reporting.figures._write import write_figures
from mola.reporting.write import write_tables

ROOT = Path(__file__).parents[2]
CONFIG = Path("config/config.yaml")
TOLD = yaml.safe_load((ROOT / "dvc.yaml").read_text())
PICTURES = [Path(place) for place in TOLD["plots"]]


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
    assert TOLD["metrics"] == [f"{suite.folder}/tables/metrics"]


def test_metrics_are_a_line_for_every_row_and_plots_ask_for_nothing(tmp_path):
    suite = make_suite(
        tmp_path, methods=("single_task", "shared", "mola_grad"), benchmarks=("digits", "emoji"), seeds=2
    )
    fill(suite, lambda benchmark, method, seed: 0.25 if method == "shared" else 0.5)
    write_tables(suite)
    write_figures(suite)
    metrics, figure = suite.folder / "tables/metrics", suite.folder / "figures/digits.tasks.png"
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
    places = {"metrics": [str(metrics.relative_to(tmp_path))], "plots": [str(figure.relative_to(tmp_path))]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(places))
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    head, *lines = dvc(tmp_path, "metrics", "show").splitlines()
    assert head.split() == ["Path", "digits", "digits", "Δ", "emoji", "emoji", "Δ"]
    numbers = {Path(line.split()[0]).stem: line.split()[1:] for line in lines}
    assert numbers["shared"] == ["25.0", "-50.0"] * 2 and set(numbers) == set(suite.methods)
    assert max(map(len, lines)) < 100
    page = Path(dvc(tmp_path, "plots", "show").strip().removeprefix("file://")).read_text()
    assert "digits.tasks.png" in page and "<script" not in page and "http" not in page


def dvc(folder, *words):
    command = [sys.executable, "-m", "dvc", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("place", PICTURES, ids=str)
def test_the_figures_are_some_that_the_suite_makes(produced, place):
    benchmark, figure, _ = place.name.split(".")
    assert place.parent == load(ROOT / CONFIG).folder / "figures"
    assert len(importlib.import_module(f"mola.reporting.figures.{figure}").data(produced[benchmark]))
