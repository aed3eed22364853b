"""A grid: every row the same points in the listed order, and of a method of several parts a learning rate for each."""

import csv
import json
import os
import signal
import subprocess
import sys

import pytest
from studies import KILLED, METHODS, opened, pretend, pretend_parts, trials

from mola import config
from mola.experiment import record as records
from mola.experiment import run as runs
from mola.experiment.spec import experiment
from mola.experiment.status import state
from mola.files import with_checksum
from mola.tuning import budget, store, study
from mola.types import BadInput

RATES = [0.004, 0.001, 0.002]
GRID = {"grid": {"lr": RATES, "batch_size": [16, 8]}, "seeds": 2}
POINTS = [{"training.lr": rate, "training.batch_size": size} for rate in RATES for size in (16, 8)]
PARTS = ("mnist", "optdigits", "mnistm", "printed")
# part → the score of each rate: the best of the first is the second rate, of the last the first
SCORES = {"mnist": [0.1, 0.5, 0.2], "optdigits": [0.7, 0.7, 0.6], "mnistm": [0.1, 0.2, 0.3], "printed": [0.9, 0.1, 0.8]}


def of_parts(settings):
    """Known scores of the parts; their mean is highest for the last rate."""
    scores = {part: SCORES[part][RATES.index(settings.training.lr)] for part in PARTS}
    return sum(scores.values()) / len(scores), scores


def test_every_row_has_the_grids_points_in_their_order_and_no_others(suite_of, monkeypatch):
    suite = suite_of(methods=METHODS, tune=GRID)
    drawn = pretend(monkeypatch)
    for label in suite.methods:
        result = study.tune(experiment(suite, "digits", label))
        assert (result["trials"], result["finished"], len(result["seeds"])) == (6, 6, 2)
        assert [params for _, params, _ in trials(suite, label)] == POINTS
        assert [(s.training.lr, s.training.batch_size) for s in drawn] == [tuple(p.values()) for p in POINTS]
        drawn.clear()
        study.tune(experiment(suite, "digits", label))
        assert not drawn, "a spent study has nothing left"


def test_a_killed_point_is_drawn_again(suite_of, monkeypatch):
    suite = suite_of(tune=GRID)

    for stop in (0, 1, 4):

        def value(settings, stop=stop):
            if len(store.finished(opened(suite))) == stop:
                raise KeyboardInterrupt
            return settings.training.lr

        pretend(monkeypatch, value)
        with pytest.raises(KeyboardInterrupt):
            study.tune(experiment(suite, "digits", "shared"))
    pretend(monkeypatch)
    study.tune(experiment(suite, "digits", "shared"))
    assert [params for _, params, _ in trials(suite)] == POINTS
    assert [trial.state.name for trial in opened(suite).trials].count("FAIL") == 3


@pytest.mark.parametrize("error", [ArithmeticError("diverged"), budget.Refused("can't be built")])
def test_a_point_that_fails_counts_with_its_reason(suite_of, monkeypatch, error):
    suite = suite_of(tune={"grid": {"lr": RATES}})

    def value(settings):
        if settings.training.lr == 0.001:
            raise error
        return settings.training.lr

    pretend(monkeypatch, value)
    result = study.tune(experiment(suite, "digits", "shared"))
    assert (result["finished"], result["failed"], result["parameters"]) == (3, 1, {"training": {"lr": 0.004}})
    rows = list(csv.DictReader((experiment(suite, "digits", "shared").study_folder / "history.csv").open()))
    assert [row["state"] for row in rows] == ["complete", "failed", "complete"]
    assert str(error) in rows[1]["reason"] and rows[1]["value"] == ""


def test_every_part_has_its_best_rate_and_the_run_trains_with_it(suite_of, monkeypatch):
    suite = suite_of(methods={"single_task": None}, tune={"grid": {"lr": RATES}})
    row = experiment(suite, "digits", "single_task")
    pretend_parts(monkeypatch, of_parts)
    result = study.tune(row)
    # of equals the earliest: optdigits
    best = {"mnist": 0.001, "optdigits": 0.004, "mnistm": 0.002, "printed": 0.004}
    assert result["parameters"] == {"training": {"lr": best}}
    assert result["value"] == pytest.approx((0.2 + 0.6 + 0.3 + 0.8) / 4) and result["trial"] == 2
    assert result["parts"]["mnistm"] == {"value": 0.3, "trial": 2}
    rows = list(csv.DictReader((row.study_folder / "history.csv").open()))
    assert [float(line["value.mnist"]) for line in rows] == SCORES["mnist"]

    row = experiment(suite, "digits", "single_task")
    assert state(row, 0) == "to do"
    assert runs.train(row, 0).status == "done"
    record = records.read(row.run_folder(0) / records.NAME)
    assert record.settings["training"]["lr"] == best == record.tuned.parameters["training"]["lr"]
    assert record.curve[0].lr == best["mnist"]
    assert state(row, 0) == "done"
    path = row.study_folder / "tuned.json"
    path.write_text(json.dumps(with_checksum(result | {"parameters": {"training": {"lr": best | {"mnist": 0.004}}}})))
    assert state(experiment(suite, "digits", "single_task"), 0) == "stale"


def test_what_parts_cannot_differ_in_is_the_best_trials(suite_of, monkeypatch):
    """The last rate with a batch size of 8 is best; of the trials with 8, each part takes its rate."""
    suite = suite_of(methods={"single_task": None}, tune={"grid": {"lr": RATES, "batch_size": [16, 8]}})

    def score(settings):
        value, parts = of_parts(settings)
        small = settings.training.batch_size == 8
        # alone better with 16, which is not the best trial's
        return value + small, {part: v + (not small) for part, v in parts.items()}

    pretend_parts(monkeypatch, score)
    result = study.tune(experiment(suite, "digits", "single_task"))
    assert result["parameters"]["training"]["batch_size"] == 8
    assert {part: expected["trial"] for part, expected in result["parts"].items()} == {
        "mnist": 3, "optdigits": 1, "mnistm": 5, "printed": 1,
    }  # fmt: skip


def test_a_rate_at_which_training_diverges_is_no_parts_choice(suite_of, monkeypatch):
    suite = suite_of(methods={"single_task": None}, tune={"grid": {"lr": RATES}})

    def score(settings):
        if settings.training.lr == 0.004:
            raise ArithmeticError("diverged")
        return of_parts(settings)

    pretend_parts(monkeypatch, score)
    result = study.tune(experiment(suite, "digits", "single_task"))
    assert 0.004 not in result["parameters"]["training"]["lr"].values() and result["failed"] == 1


def test_without_a_grid_nothing_is_chosen_by_part(suite_of, monkeypatch):
    suite = suite_of(methods={"single_task": None}, tune={"trials": 3, "space": {"lr": RATES}})
    pretend_parts(monkeypatch, of_parts)
    result = study.tune(experiment(suite, "digits", "single_task"))
    assert isinstance(result["parameters"]["training"]["lr"], float) and "parts" not in result
    assert "value.mnist" not in (experiment(suite, "digits", "single_task").study_folder / "history.csv").read_text()


def test_the_parts_scores_are_those_of_a_run(suite_of):
    """Of one point and seed: each task's accuracy at the epoch that its own model selects."""
    training = {"epochs": 3, "batch_size": 16, "lr": 0.002}
    methods = {"single_task": None}
    benchmarks = {"digits": {"limit": 64}}
    suite = suite_of(methods=methods, tune={"grid": {"lr": [0.002]}}, training=training, benchmarks=benchmarks)
    result = study.tune(experiment(suite, "digits", "single_task"))
    plain = suite_of(suite="plain", methods=methods, tune=None, training=training, benchmarks=benchmarks)
    record = runs.train(experiment(plain, "digits", "single_task"), result["seeds"][0])
    assert len({v["value"] for v in result["parts"].values()}) > 1, "or the test could not tell them apart"
    assert {part: v["value"] for part, v in result["parts"].items()} == {
        name: scores["accuracy"] for name, scores in record.valid.items()
    }


def test_another_order_is_another_study(suite_of, monkeypatch):
    pretend(monkeypatch)
    study.tune(experiment(suite_of(tune=GRID), "digits", "shared"))
    turned = {"grid": {"batch_size": [16, 8], "lr": RATES}, "seeds": 2}
    with pytest.raises(BadInput, match=r"found changed: .*grid.*mola tune --restart"):
        study.tune(experiment(suite_of(tune=turned), "digits", "shared"))


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ({"trials": 20}, "tune.trials: expected none beside tune.grid, whose combinations are the 3 trials, found 20"),
        ({"space": {"lr": None}}, "tune.space: expected none beside tune.grid"),
        ({"pruner": "median"}, "tune.pruner: expected none beside tune.grid, .* found median"),
        ({"grid": {}}, "tune.grid: expected a key of the training section"),
        ({"grid": {"lr": []}}, "tune.grid.lr: expected values, found an empty list"),
        ({"grid": {"lr": [0.1, -1]}}, "tune.grid.lr: should be greater than 0, found -1"),
        ({"grid": {"lr": [0.1, {"mnist": 0.1}]}}, "tune.grid.lr: expected one value at a time for all parts"),
        ({"grid": {"lr": [0.1, "1e-1"]}}, r"tune.grid.lr: expected values that all differ, found \[0.1, 0.1\]"),
        ({"grid": {"lrr": [0.1]}}, "tune.grid.lrr: not a knob of the training section, did you mean 'lr'"),
        ({"grid": {"epochs": [1, 2]}}, "tune.grid.epochs: not a knob"),
    ],
)
def test_what_a_grid_refuses(suite_file, tune, message):
    with pytest.raises(BadInput, match=message) as caught:
        config.load(suite_file(tune={"grid": {"lr": RATES}} | tune))
    assert "\n" not in str(caught.value)


def test_a_row_that_fixes_what_the_grid_tries_is_refused(suite_file):
    methods = {"shared": None, "slow": {"method": "shared", "training": {"lr": 0.1}}}
    expected = "methods.slow.training.lr: expected none where tune.grid tries values, found 0.1"
    with pytest.raises(BadInput, match=expected):
        config.load(suite_file(methods=methods, tune={"grid": {"lr": RATES}}))
    config.load(suite_file(methods=methods, tune={"grid": {"batch_size": [8, 16]}}))


def test_a_benchmark_that_fixes_what_the_grid_tries_is_refused(suite_file):
    benchmarks = {"few": {"benchmark": "digits", "limit": 16, "training": {"epochs": 1, "lr": 0.1}}}
    expected = "benchmarks.few.training.lr: expected none where tune.grid tries values, found 0.1"
    with pytest.raises(BadInput, match=expected):
        config.load(suite_file(benchmarks=benchmarks, tune={"grid": {"lr": RATES}}))
    config.load(suite_file(benchmarks=benchmarks, tune={"grid": {"batch_size": [8, 16]}}))


@pytest.mark.slow
def test_kill_9_in_the_middle_of_a_point_changes_no_choice(suite_file):
    training = {"epochs": 2, "batch_size": 16, "checkpoint": {"epochs": 1}}
    changes = {"methods": {"single_task": None}, "training": training}
    tune = {"grid": {"lr": [0.001, 0.004]}, "seeds": 2}
    whole = config.load(suite_file(suite="whole", tune=tune, **changes))
    expected = study.tune(experiment(whole, "digits", "single_task"))
    path = suite_file(suite="cut", tune=tune, **changes)
    # the second point's second seed, after its first epoch
    command = [sys.executable, "-c", KILLED, str(path), "7", "single_task"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    cut = config.load(path)
    result = study.tune(experiment(cut, "digits", "single_task"))
    assert trials(cut, "single_task") == trials(whole, "single_task")
    assert (result["parameters"], result["parts"]) == (expected["parameters"], expected["parts"])
