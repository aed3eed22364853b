"""Tables of classes, labels and numbers of whole images: all metrics, their directions, those not defined."""

import csv
import io
import math

import pytest
from fake_labels import TASKS

from mola.experiment.record import Parameters, Record
from mola.metrics import averageable, overall
from mola.reporting.figures import tasks as tasks_figure
from mola.reporting.render import to_csv, to_latex, to_markdown
from mola.reporting.results.read import Results
from mola.reporting.results.records import Row, fault
from mola.reporting.statistics import delta_flat, delta_task
from mola.reporting.tables.assemble import benchmark_table, summary_table
from mola.types import Task

NUMBERS = {
    "species": {"accuracy": 0.8, "balanced_accuracy": 0.75, "auc": 0.9},
    "height": {"mean_absolute_error": 10.0, "r2": 0.5, "root_mean_squared_error": 12.5},
    "defects": {"mean_average_precision": 0.4, "auc": 0.6},
}
NAMES = {"defects": ("mean_average_precision", "auc"), "height": ("r2",)}


def scores(gain=0.0, error=0.0, undefined=()):
    """Fractions and R² higher by ``gain``, errors lower by the fraction ``error``."""
    table = {
        task: {name: value * (1 - error) if "error" in name else value + gain for name, value in row.items()}
        | {"loss": 0.5}
        for task, row in NUMBERS.items()
    }
    for task, name in undefined:
        table[task][name] = math.nan
    return table


GAPS = [(task, name) for task, every in NAMES.items() for name in every]


def record(test):
    return Record.model_construct(
        test=test, valid=test, oracle_selection=None, parameters=Parameters(trainable=1, inference=1),
        flops_per_sample=1, seconds_per_step=1.0, peak_memory_bytes=1, tuned=None, curve=[], certified=None,
    )  # fmt: skip


def results(*, tasks=TASKS, **rows):
    runs = {label: {seed: record(test) for seed in range(3)} for label, test in rows.items()}
    return Results(tasks, [Row(label, records, {}) for label, records in runs.items()], single_input=True)


def lines(table):
    return [line for line in to_markdown(table).replace("−", "-").splitlines() if line.startswith("|")]


def test_every_metric_with_unit_arrow_and_both_deltas():
    table = benchmark_table("birds", results(single=scores(), shared=scores(0.04, 0.1)), (0, 1, 2), "single")
    head, _, single, shared = lines(table)
    assert head.startswith(
        "| method | species accuracy (%) ↑ | species balanced accuracy (%) ↑ | species auc (%) ↑ | height MAE ↓ "
        "| height R² ↑ | height RMSE ↓ | defects mAP (%) ↑ | defects auc (%) ↑ | Δ_task ↑ | Δ_flat ↓ |"
    )
    assert single.startswith("| single | <u>80.00 ± 0.00</u> |") and "| – | – |" in single
    assert "| **9.0000 ± 0.0000** | **0.5400 ± 0.0000** | **11.2500 ± 0.0000** |" in shared
    # by hand: 4.926 on species, (10 + 4 + 10)/3 on height, (10 + 6.667)/2 on defects
    relative = 100 * sum(0.04 / value for value in (0.8, 0.75, 0.9)) / 3
    expected = (relative + 8 + (10 + 100 * 0.04 / 0.6) / 2) / 3
    assert delta_task(scores(0.04, 0.1), scores(), TASKS) == pytest.approx(expected)
    assert f"| +{expected:.2f} ± 0.00 |" in shared


def test_a_worse_number_is_a_loss():
    assert delta_task(scores(0, -0.1), scores(), TASKS) == pytest.approx(100 * -(0.1 + 0.1) / 3 / 3)
    assert delta_flat(scores(0, -0.1), scores(), TASKS) == pytest.approx(100 * (0.1 + 0.1) / 8)
    assert overall(scores(0, 0.1), TASKS) > overall(scores(), TASKS) > overall(scores(-0.01), TASKS)


def test_the_caption_says_what_a_reader_needs():
    text = benchmark_table("birds", results(single=scores(), shared=scores(0.1)), (0, 1, 2), "single").caption
    for phrase in (
        "over all samples of the split whose target is known",
        "No average: the tasks have different units",
        "(of R²: 100 times the difference)",
        "image with all its tasks",
    ):
        assert phrase in text
    assert not averageable(TASKS)
    assert "shared" in to_latex(summary_table("s", {"birds": results(shared=scores())}, (0, 1, 2), None))
    assert "$^2$" in to_latex(benchmark_table("birds", results(shared=scores()), (0, 1, 2), None))


def test_classes_and_several_labels_have_an_average():
    tasks = (TASKS[0], TASKS[2])
    table = benchmark_table("birds", results(tasks=tasks, single=scores()), (0, 1, 2), None)
    (row,) = csv.DictReader(io.StringIO(to_csv(table)))
    assert float(row["average"]) == pytest.approx(60)
    assert "Average: mean over the tasks of accuracy and mAP." in table.caption


def test_what_test_does_not_define_is_marked_and_the_rest_counts():
    table = benchmark_table(
        "birds", results(single=scores(undefined=GAPS), shared=scores(0.04, 0.1, GAPS)), (0, 1, 2), "single"
    )
    shared = lines(table)[3]
    assert "| **9.0000 ± 0.0000** | – | **11.2500 ± 0.0000** | – | – |" in shared
    gains = [100 * sum(0.04 / value for value in (0.8, 0.75, 0.9)) / 3, 10]
    assert f"| +{sum(gains) / 2:.2f} ± 0.00 |" in shared
    assert [note for note in table.notes if "not defined" in note] == [
        "height R² is not defined on test, which lacks two targets that differ: left out of averages and Δ",
        "defects mAP is not defined on test, which lacks a label with positives: left out of averages and Δ",
        "defects auc is not defined on test, which lacks positives and negatives: left out of averages and Δ",
    ]
    assert fault(record(scores(undefined=GAPS)), TASKS) is None
    average = benchmark_table("b", results(tasks=(TASKS[0], TASKS[2]), single=scores(undefined=GAPS)), (0, 1, 2), None)
    assert float(next(csv.DictReader(io.StringIO(to_csv(average))))["average"]) == pytest.approx(80)


def test_a_number_that_is_missing_for_another_reason_is_a_fault():
    broken = scores(undefined=[("height", "mean_absolute_error")])
    assert "expected a number for height mean_absolute_error, found nan" in fault(record(broken), TASKS)
    diverged = scores(undefined=GAPS)
    diverged["defects"]["loss"] = math.nan
    assert "expected a number for defects mean_average_precision, found nan" in fault(record(diverged), TASKS)
    del diverged["defects"]["auc"], diverged["defects"]["mean_average_precision"]
    assert "found none" in fault(record(diverged), TASKS)


def test_nothing_defined_has_no_gain():
    tasks = (Task("defects", "multilabel", 4, ("mean_average_precision", "auc")),)
    assert math.isnan(delta_task(scores(undefined=GAPS), scores(undefined=GAPS), tasks))
    assert math.isnan(delta_flat(scores(undefined=GAPS), scores(undefined=GAPS), tasks))
    assert math.isnan(overall(scores(undefined=GAPS), tasks))


def test_the_figure_of_tasks_leaves_out_what_has_no_value():
    class Source:
        tasks, asked, rows = TASKS, 3, results(single=scores(undefined=GAPS)).rows

    frame = tasks_figure.data(Source())
    assert list(frame["task"]) == ["species", "height"]
    assert list(frame["metric"]) == ["accuracy (%) ↑", "MAE ↓"]
