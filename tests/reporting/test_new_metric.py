"""A metric that is added shows in tables, captions, notes and both Δ by its entry alone, below and at 0 too."""

import math

import pytest
import torch
from sklearn.metrics import cohen_kappa_score

from mola import metrics
from mola.experiment.record import Parameters, Record
from mola.metrics.accumulators import accumulator
from mola.metrics.metric import FRACTION, Metric, Unit
from mola.reporting.render import to_latex, to_markdown
from mola.reporting.results.read import Results
from mola.reporting.results.records import Row
from mola.reporting.statistics import delta_flat, delta_task
from mola.reporting.tables.assemble import benchmark_table
from mola.types import Task

RATED, DEEP = Task("rated", "classes", 3, ("kappa", "accuracy")), Task("deep", "depth", 1, ("abs_error",))


def kappa(totals):
    shares = totals.confusion / totals.confusion.sum()
    chance = (shares.sum(0) * shares.sum(1)).sum()
    return (shares.diagonal().sum() - chance) / (1 - chance)


@pytest.fixture(autouse=True)
def entry(monkeypatch):
    entry = Metric("kappa", Unit("", 1, 3), kappa, title="Cohen's $κ$", gain="absolute")
    monkeypatch.setitem(metrics.METRICS, "kappa", entry)
    return entry


def scores(rated, accurate=0.5, error=0.5):
    return {"rated": {"kappa": rated, "accuracy": accurate}, "deep": {"abs_error": error}}


def table(base, *others):
    rows = {"single": base, **{f"row{i}": value for i, value in enumerate(others)}}
    runs = {label: {seed: record(scores(value)) for seed in range(3)} for label, value in rows.items()}
    results = Results((RATED, DEEP), [Row(label, records, {}) for label, records in runs.items()])
    return benchmark_table("b", results, (0, 1, 2), "single")


def record(test):
    parameters = Parameters(trainable=1, inference=1)
    return Record.model_construct(
        test=test, oracle_selection=None, parameters=parameters, flops_per_sample=1, seconds_per_step=1.0,
        peak_memory_bytes=1, tuned=None, curve=[],
    )  # fmt: skip


def test_it_is_computed_from_what_its_kind_collects():
    generator = torch.Generator().manual_seed(0)
    targets, logits = torch.randint(3, (90,), generator=generator), torch.randn(90, 3, generator=generator)
    collected = accumulator(RATED)
    collected.update(logits, targets)
    assert collected.compute()["kappa"] == pytest.approx(cohen_kappa_score(targets, logits.argmax(1)))


@pytest.mark.parametrize("base", [-0.2, 0.0, 0.3])
def test_better_is_a_gain_whatever_the_sign_of_the_reference(base):
    tasks = (RATED, DEEP)
    for difference in (0.1, -0.1):
        value = delta_task(scores(base + difference), scores(base), tasks)
        assert value == pytest.approx(100 * difference / 4)  # one of two metrics, one of two tasks
        assert delta_flat(scores(base + difference), scores(base), tasks) == pytest.approx(-100 * difference / 3)
    assert delta_task(scores(base), scores(base), tasks) == 0


@pytest.mark.parametrize("base", [-0.2, 0.0])
def test_tables_captions_and_notes(base):
    kappa = table(base, base + 0.1)
    text = to_markdown(kappa).replace("−", "-")
    assert "| rated Cohen's $κ$ ↑ | rated accuracy (%) ↑ | deep abs. error (m) ↓ | Δ_task ↑ | Δ_flat ↓ |" in text
    assert f"| **{base + 0.1:.3f} ± 0.000** |" in text and "| +2.50 ± 0.00 | -3.33 ± 0.00 |" in text
    assert "over all metrics (of Cohen's $κ$: 100 times the difference)" in kappa.caption
    assert not any("not defined" in note for note in kappa.notes)
    assert r"Cohen's \$κ\$" in to_latex(kappa)


def test_it_selects_where_it_ranks():
    def of(value, error):
        return metrics.overall(scores(value, error=error), (RATED, DEEP))

    assert of(-0.3, 0.5) < of(-0.2, 0.5) < of(0.0, 0.5) < of(0.1, 0.5) < of(0.1, 0.4)
    assert of(0.1, 0.5) - of(0.0, 0.5) == pytest.approx(0.05)
    assert metrics.overall({"a": {"abs_error": 0.0}}, (Task("a", "depth", 1, ("abs_error",)),)) == -math.log(1e-6)


def test_an_entry_says_what_it_is(entry):
    assert not entry.averaged and entry.label == "Cohen's $κ$"
    assert Metric("two_words", FRACTION, kappa).label == "two words (%)"
