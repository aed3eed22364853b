"""Every study spends the same, whatever happens to its trials."""

import csv
import errno
import os
import warnings

import pytest
from studies import METHODS, opened, pretend, scored, trials

from mola.experiment.spec import experiment
from mola.faults import naming
from mola.tuning import budget, store, study, trial
from mola.types import BadInput


def test_every_method_gets_the_same_number_of_trials(suite_of, monkeypatch):
    suite = suite_of(methods=METHODS, tune={"trials": 13})
    pretend(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for label in suite.methods:
            study.tune(experiment(suite, "digits", label))
    done = {label: trials(suite, label) for label in suite.methods}
    assert {label: len(expected) for label, expected in done.items()} == dict.fromkeys(METHODS, 13)
    shared_knobs = {"training.lr", "training.weight_decay"}
    weights = {f"balancer.weights.{task}" for task in ("mnist", "optdigits", "mnistm", "printed")}
    assert set(done["single_task"][0][1]) == set(done["shared"][0][1]) == shared_knobs
    assert set(done["weighted"][0][1]) == shared_knobs | weights
    assert set(done["mola_grad"][0][1]) == shared_knobs | {"method.rank", "method.alpha"}
    for number in range(10):  # before TPE has learnt anything, the shared knobs are drawn in pairs
        drawn = {
            (trials[number][1]["training.lr"], trials[number][1]["training.weight_decay"]) for trials in done.values()
        }
        assert len(drawn) == 1
    first = done["mola_grad"][0][1]
    assert (first["training.lr"], first["method.rank"], first["method.alpha"]) == (0.002, 4, 16.0)
    assert all(value == 1.0 for name, value in done["weighted"][0][1].items() if name in weights)
    result = experiment(suite, "digits", "weighted").settings.balancer_options["weights"]
    assert sum(result.values()) == pytest.approx(4)


def test_a_diverged_trial_has_had_its_turn_and_a_draw_that_cannot_be_built_is_drawn_again(suite_of, monkeypatch):
    suite = suite_of(tune={"trials": 6})

    def value(settings):
        if settings.training.lr < 0.0015:
            raise ArithmeticError("diverged")
        if settings.training.lr > 0.009:
            raise budget.Refused("too much")
        return settings.training.lr

    drawn = pretend(monkeypatch, value)
    result = study.tune(experiment(suite, "digits", "shared"))
    rates = [settings.training.lr for settings in drawn]
    assert result["failed"] == sum(rate < 0.0015 for rate in rates) > 0
    assert len(rates) - result["finished"] == sum(rate > 0.009 for rate in rates) > 0
    assert result["finished"] == 6
    assert result["value"] == max(rate for rate in rates if 0.0015 <= rate <= 0.009)
    folder = experiment(suite, "digits", "shared").folder / "optuna"
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert [row["state"] for row in rows].count("failed") == result["failed"]
    assert {row["reason"] for row in rows} == {"", "ArithmeticError: diverged"}
    assert all(row["value"] == "" for row in rows if row["state"] == "failed")


def test_draws_that_can_never_be_built_end_in_one_line(suite_of, monkeypatch):
    def value(settings):
        raise budget.Refused("a rank of 99")

    pretend(monkeypatch, value)
    with pytest.raises(BadInput, match=r"digits/shared: expected values .* found only: a rank of 99"):
        study.tune(experiment(suite_of(), "digits", "shared"))


def test_where_every_trial_fails_the_configuration_is_kept_and_the_record_tells(suite_of, monkeypatch):
    suite = suite_of()

    def value(settings):
        raise RuntimeError("CUDA out of memory\nmore lines")

    pretend(monkeypatch, value)
    result = study.tune(experiment(suite, "digits", "shared"))
    assert (result["value"], result["parameters"], result["failed"]) == (None, {}, 3)
    assert experiment(suite, "digits", "shared").settings == suite.settings("digits", "shared")
    history = (experiment(suite, "digits", "shared").folder / "optuna/history.csv").read_text()
    assert "RuntimeError: CUDA out of memory\n" in history


def test_an_error_of_a_file_fails_a_trial_where_a_plugin_raised_it_and_else_ends_the_study(suite_of, monkeypatch):
    """A plugin's missing file says something of its values; a full disk, or too many open files, nothing of them, also
    where a plugin meets them.
    """
    suite = suite_of()
    named = lambda path: path.name if path.name == "test_budget.py" else None  # noqa: E731
    for number in (errno.ENOSPC, errno.EMFILE, errno.EACCES, errno.ETIMEDOUT):

        def of_the_machine(settings, number=number):
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            pretend(patch, of_the_machine)
            with pytest.raises(BadInput, match=rf"tuning stopped: .*{os.strerror(number)}; the same command goes on"):
                study.tune(experiment(suite, "digits", "shared"))

    @naming
    def guarded():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), "image.png")

    def unguarded():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for opens, words in ((guarded, "Too many open files"), (unguarded, "No space left on device")):
        # where a trial trains, and where its model is built
        for place, name in ((budget, "score"), (trial, "build")):
            with monkeypatch.context() as patch:
                patch.setattr("mola.plugins.shown", named)
                patch.setattr(place, name, lambda *more, opens=opens: opens())
                with pytest.raises(BadInput, match=rf"tuning stopped: .*{words}.*; the same"):
                    study.tune(experiment(suite, "digits", "shared"))

    def of_the_plugin(settings):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "scale.npy")

    pretend(monkeypatch, of_the_plugin)
    monkeypatch.setattr("mola.plugins.shown", named)
    assert study.tune(experiment(suite, "digits", "shared"))["failed"] == 3, "none was counted before"


def test_data_damaged_between_two_calls_end_the_study_with_a_line_and_not_its_trials(suite_of, monkeypatch):
    suite = suite_of(tune={"grid": {"lr": [0.001, 0.002, 0.004]}})
    one, real = experiment(suite, "digits", "shared"), budget.score

    def once(*words):
        monkeypatch.setattr(budget, "score", interrupted)
        return scored(0.5)

    def interrupted(*words):
        raise KeyboardInterrupt

    monkeypatch.setattr(budget, "score", once)
    with pytest.raises(KeyboardInterrupt):
        study.tune(one)
    monkeypatch.setattr(budget, "score", real)

    def damaged(*words):
        raise BadInput("mnist.train.images.npy: expected sha256 1, found 2")

    with monkeypatch.context() as patch:
        patch.setattr("mola.data.prepare.store.open_arrays", damaged)
        with pytest.raises(BadInput, match="expected sha256 1, found 2"):
            study.tune(experiment(suite, "digits", "shared"))
    assert not (one.study_folder / "tuned.json").exists()
    pretend(monkeypatch)
    result = study.tune(experiment(suite, "digits", "shared"))
    assert (result["finished"], result["failed"]) == (3, 0)


def test_a_longer_budget_prolongs_a_study_and_a_shorter_one_cuts_it(suite_of, monkeypatch):
    pretend(monkeypatch)
    whole = suite_of(suite="whole", tune={"trials": 14})
    study.tune(experiment(whole, "digits", "shared"))
    study.tune(experiment(suite_of(suite="grown", tune={"trials": 4}), "digits", "shared"))
    study.tune(experiment(grown := suite_of(suite="grown", tune={"trials": 14}), "digits", "shared"))
    assert trials(grown) == trials(whole)
    assert study.tune(experiment(grown, "digits", "shared")) == study.tune(experiment(whole, "digits", "shared"))
    short = study.tune(experiment(suite_of(suite="grown", tune={"trials": 4}), "digits", "shared"))
    assert (short["trials"], short["finished"]) == (4, 4)
    assert short["value"] == max(value for value, _, _ in trials(whole)[:4])


def test_a_pruned_study_spends_the_epochs_of_its_whole_trials(suite_of, monkeypatch):
    """Every method's study the same number, however often it is pruned; and a killed one tells its epochs again."""
    stopped = []

    def score(settings, number, place, on_score, on_step):
        for epoch in range(1, 11):
            on_score(epoch, -abs(settings.training.lr - 0.002) * epoch)
            if epoch in stopped and len(store.finished(opened(cut))) == 12:
                stopped.remove(epoch)
                raise KeyboardInterrupt
        return scored(-abs(settings.training.lr - 0.002))

    monkeypatch.setattr(budget, "score", score)
    changes = {"training": {"epochs": 10, "batch_size": 16, "lr": 0.002}, "tune": {"trials": 12, "pruner": "median"}}
    suite = suite_of(methods={"shared": None, "weighted": METHODS["weighted"]}, **changes)
    for label in suite.methods:
        result = study.tune(experiment(suite, "digits", label))
        assert result["pruned"] > 0 and result["finished"] > 12
        assert sum(expected[store.EPOCHS] for _, _, expected in trials(suite, label)) == 120
    cut = suite_of(suite="cut", **changes)
    stopped.append(3)
    with pytest.raises(KeyboardInterrupt):
        study.tune(experiment(cut, "digits", "shared"))
    study.tune(experiment(cut, "digits", "shared"))
    assert trials(cut) == trials(suite)
