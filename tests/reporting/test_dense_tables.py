"""Tables of a dense benchmark, from records with the published rows of NYUv2 (docs/protocol.md)."""

import csv
import io
import json

import pytest
from fake_dense import TASKS
from synthetic import edit, write

from mola.benchmarks.digits import Digits
from mola.config import load
from mola.experiment.spec import experiments
from mola.reporting.render import to_csv, to_latex, to_markdown
from mola.reporting.results.read import Results
from mola.reporting.results.records import collect
from mola.reporting.tables.assemble import benchmark_table, summary_table
from mola.reporting.write import write_tables
from mola.types import Task

# as printed: percent, metres, degrees
ROWS = {
    "single_task": (38.30, 63.76, 0.6754, 0.2780, 25.01, 19.21, 30.14, 57.20, 69.15),
    "shared": (39.29, 65.33, 0.5493, 0.2263, 28.15, 23.96, 22.09, 47.50, 61.08),
}
PERCENT = ("miou", "pixel_accuracy", "within_11", "within_22", "within_30")


def scores(row):
    values = iter(row)
    return {
        task.name: {metric: next(values) / (100 if metric in PERCENT else 1) for metric in task.metrics}
        for task in TASKS
    }


@pytest.fixture
def suite(suite_file):
    suite = load(suite_file(seeds=1, reference="single_task", methods=dict.fromkeys(ROWS)))
    for experiment in experiments(suite):
        row = scores(ROWS[experiment.label])
        path = write(experiment, 0, row)
        valid = row | {"depth": {"abs_error": None if experiment.label == "shared" else 0.5, "rel_error": 0.2}}
        (epoch,) = json.loads(path.read_text())["curve"]
        edit(
            path, curve=[{**epoch, "valid": valid}], remarks=[f"the first {experiment.data.limit} images of each split"]
        )
    return suite


def table(suite, **changes):
    results = Results(TASKS, collect(experiments(suite)), **changes)
    return benchmark_table("rooms", results, suite.seeds, suite.reference)


def test_every_metric_with_its_unit_and_both_deltas(suite):
    lines = [line for line in to_markdown(table(suite)).splitlines() if line.startswith("|")]
    assert lines[0] == (
        "| method | segmentation mIoU (%) ↑ | segmentation pixel accuracy (%) ↑ "
        "| depth abs. error (m) ↓ | depth rel. error ↓ | normals mean (°) ↓ | normals median (°) ↓ "
        "| normals within 11.25° (%) ↑ | normals within 22.5° (%) ↑ "
        "| normals within 30° (%) ↑ | Δ_task ↑ | Δ_flat ↓ "
        "| trained (M) | params (M) | GFLOPs | ms/step | memory (MiB) | trials |"
    )
    shared = lines[3]
    assert "| **39.29** | **65.33** | **0.5493** | **0.2263** | <u>28.15</u> | <u>23.96</u> | <u>22.09</u> |" in shared
    assert "| +0.88 | +5.59 |" in shared  # as published


def test_the_caption_says_what_a_reader_needs(suite):
    text = to_markdown(table(suite, remarks=["one thing to know"]))
    for phrase in (
        "No average: the tasks have different units",
        "over all pixels of the split that count",
        "Δ_task: all tasks weigh the same; positive is better",
        "Δ_flat: all metrics weigh the same; negative is better",
        "image with all its tasks",
        "- one thing to know",
    ):
        assert phrase in text


def test_csv_has_a_key_for_every_metric(suite):
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(to_csv(table(suite))))}
    assert float(rows["shared"]["segmentation_miou"]) == pytest.approx(39.29)
    assert float(rows["shared"]["depth_abs_error"]) == pytest.approx(0.5493)
    assert float(rows["shared"]["delta_flat"]) == pytest.approx(5.59, abs=0.02)
    assert float(rows["shared"]["delta_task"]) == pytest.approx(0.88, abs=0.02)
    assert "average" not in rows["shared"]


def test_latex_escapes_arrows_degrees_and_both_deltas(suite):
    text = to_latex(table(suite))
    assert r"$\Delta_\mathrm{task}$ $\uparrow$" in text and r"$\Delta_\mathrm{flat}$ $\downarrow$" in text
    assert r"normals within 11.25$^\circ$ (\%) $\uparrow$" in text
    assert not any(c in text for c in "±Δ–−†↑↓°")


def test_tasks_that_are_all_fractions_have_an_average_and_equal_counts_one_delta(suite):
    parts = tuple(Task(name, "segmentation", 3, ("miou",)) for name in ("segmentation",))
    rooms = benchmark_table("rooms", Results(parts, collect(experiments(suite))), suite.seeds, suite.reference)
    keys = [column.key for column in rooms.columns]
    assert keys[:3] == ["segmentation_miou", "average", "delta_task"]
    assert "delta_flat" not in keys


def test_the_summary_shows_the_deltas_alone_and_says_why(suite):
    results = {"rooms": Results(TASKS, collect(experiments(suite)))}
    rooms = summary_table("tiny", results, suite.seeds, suite.reference)
    assert [column.key for column in rooms.columns] == ["rooms_delta_task", "rooms_delta_flat"]
    assert "not of rooms: their tasks have different units" in rooms.caption
    assert r"rooms $\Delta_\mathrm{flat}$" in to_latex(rooms)
    nothing = summary_table("tiny", results, suite.seeds, None)
    assert "| method |" in to_markdown(nothing)
    assert r"\toprule" in to_latex(nothing)


def test_files_remarks_curves_and_headline_numbers(suite, monkeypatch):
    identity = experiments(suite)[0].data_identity
    monkeypatch.setattr(Digits, "tasks", TASKS)
    monkeypatch.setattr(Digits, "identity", property(lambda digits: identity))
    folder = {path.name: path for path in write_tables(suite)}
    assert "- the first 16 images of each split" in folder["digits.md"].read_text()
    assert "digits: the first 16 images" in folder["summary.md"].read_text()
    assert set(json.loads(folder["shared.json"].read_text())) == {"digits Δ", "digits Δ_flat"}
    (row,) = csv.DictReader(io.StringIO(folder["digits.curves.csv"].read_text()))
    # mean of ±log of mIoU .3830, absolute error .5, mean angle 25.01
    assert float(row["single_task"]) == pytest.approx(-1.1618, abs=1e-3)
    assert row["shared"] == ""  # not finite there
