"""The captions of the report, for the configurations that they depend on."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from jinja2 import Template  # Snakemake's own dependency

CAPTIONS = Path(__file__).parents[2] / "workflow/report"


def caption(file, figure="", **config):
    given = {"suite": "made", "seeds": 6, "methods": {"shared": None}, "benchmarks": {"digits": None}} | config
    text = Template((CAPTIONS / file).read_text()).render(
        snakemake=SimpleNamespace(config=given, wildcards=SimpleNamespace(figure=figure, of="digits"))
    )
    return " ".join(text.split())


@pytest.mark.parametrize(("file", "figure"), [("figures.rst", "tasks"), ("workflow.rst", "")])
def test_what_is_said_about_reading_test_follows_the_oracle_selection(file, figure):
    assert "test is also scored after every epoch" in caption(file, figure, probes={"oracle_selection": True})
    for plain in ({}, {"probes": None}, {"probes": {"oracle_selection": False}}):
        assert "scored after every epoch" not in caption(file, figure, **plain)


def test_what_is_said_about_the_learning_rate_follows_tuning():
    of = {"file": "figures.rst", "figure": "amounts"}
    words = (
        "number of epochs. Nothing is tuned: rows and amounts train with the learning rate that the configuration gives"
    )
    for plain in ({}, {"tune": None}, {"tune": False}):
        assert words in caption(**of, **plain)
    assert "Nothing is tuned" not in caption(**of, tune={"grid": {"lr": [0.1]}})


def test_what_is_said_about_budgets_follows_the_pruner():
    of = {"file": "figures.rst", "figure": "tuning_history"}
    assert "the same number of epochs, so that numbers of trials differ" in caption(**of, tune={"pruner": "median"})
    for plain in ({}, {"tune": None}, {"tune": False}, {"tune": {"trials": 3}}, {"tune": {"pruner": "none"}}):
        assert "the same number of finished trials. Crosses" in caption(**of, **plain)
