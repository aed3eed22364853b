"""Whether rows end in a plateau, from curves by hand."""

import csv
import io

import pytest
from synthetic import edit, fill, make_suite, record

from mola.experiment import record as stored
from mola.reporting.render import RENDERERS, to_csv
from mola.reporting.results.plateau import last_fifth
from mola.reporting.write import read_results, tables
from mola.types import Task

NAMES = ("mnist", "optdigits", "mnistm", "printed")
TASKS = tuple(Task(name, "classes", 10, ("accuracy",)) for name in NAMES)


def curve(values):
    """Epochs whose score on valid is the value, of every task; or one value for each task."""
    every = [value if isinstance(value, tuple) else (value,) * 4 for value in values]
    return [
        {
            "epoch": epoch,
            "lr": 0.1,
            "steps": 1,
            "train_seconds": 1.0,
            "train": dict.fromkeys(NAMES, 1.0),
            "valid": {name: {"accuracy": one} for name, one in zip(NAMES, of_tasks, strict=True)},
        }
        for epoch, of_tasks in enumerate(every, 1)
    ]


@pytest.fixture
def suite(tmp_path):
    return make_suite(tmp_path, methods=("single_task", "shared"), seeds=4)


def table_of(suite, name="digits"):
    return tables(suite, read_results(suite))[name]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # ten epochs: from the eighth
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.80, 0.2, 0.83], 3.0),
        # six: a fifth is 1.2, rounded up
        ([0.0, 0.0, 0.0, 0.50, 0.9, 0.48], -2.0),
        # at least one back
        ([0.50, 0.55], 5.0),
        ([0.1, 0.50, 0.51], 1.0),
        ([0.5], None),
        ([], None),
        # the mean over tasks
        ([(0.1, 0.2, 0.3, 0.4), (0.2, 0.2, 0.3, 0.4)], 2.5),
    ],
)
def test_the_move_of_a_run(suite, values, expected):
    fill(suite, lambda b, m, s: 0.5, curve=curve(values))
    assert last_fifth(stored.read(record(suite, "shared", 0)), TASKS) == (
        expected if expected is None else pytest.approx(expected)
    )


def ends(*moves):
    """Curves of ten epochs that move by so many points at the end, by seed."""
    return lambda b, m, s: curve([0.5] * 9 + [0.5 + moves[s] / 100 if m == "shared" else 0.509])


def test_a_row_is_named_where_its_mean_moves(suite):
    fill(suite, lambda b, m, s: 0.5, curve=ends(2.5, 0.3, 0.4, 3.6))
    line = "shared, seeds 0, 3: still moving: +1.7 points over the last fifth of training, the mean of its seeds"
    table = table_of(suite)
    assert [note for note in table.notes if "moving" in note] == [line]
    assert all(line in render(table) for ending, render in RENDERERS.items() if ending != "csv")
    summary = [note for note in table_of(suite, "summary").notes if "moving" in note]
    assert summary == ["digits: still moving at the end of training: shared"]
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(to_csv(table)))}
    assert float(rows["shared"]["last_fifth"]) == pytest.approx(1.7) and rows["shared"]["last_fifth_n"] == "4"
    assert float(rows["single_task"]["last_fifth"]) == pytest.approx(0.9)
    assert "last fifth" not in [column.title for column in table.columns]


def test_falling_is_moving_too(suite):
    fill(suite, lambda b, m, s: 0.5, curve=ends(-1.5, -1.5, -1.5, -1.5))
    assert "shared, seeds 0–3: still moving: −1.5 points" in " ".join(table_of(suite).notes)


@pytest.mark.parametrize("moves", [(3.9, 0.0, 0.0, 0.0), (9.0, -9.0, 2.0, -2.0)])
def test_the_noise_of_one_run_names_no_row(suite, moves):
    fill(suite, lambda b, m, s: 0.5, curve=ends(*moves))
    assert not any("moving" in note for note in table_of(suite).notes)


def test_exactly_a_point_moves(suite):
    fill(suite, lambda b, m, s: 0.5, curve=ends(1.0, 1.0, 1.0, 1.0))
    assert "shared, seeds 0–3: still moving: +1.0 points" in " ".join(table_of(suite).notes)


def test_a_score_that_is_no_number_is_no_plateau(suite):
    fill(suite, lambda b, m, s: 0.5)
    edit(record(suite, "shared", 1), curve=curve([0.5] * 9 + [None]))
    assert any(note.startswith("shared, seeds 1: no finite validation score") for note in table_of(suite).notes)
