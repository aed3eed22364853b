"""Studies of real trials on a few images: budgets, kills, what is refused, and that test is never read."""

import csv
import json
import os
import signal
import subprocess
import sys
import warnings

import pytest
import torch

from mola import runs, tuned
from mola.config import load
from mola.inputs import inputs
from mola.status import state
from mola.tuning import store, study
from mola.types import BadInput

METHODS = {
    "single_task": None,
    "shared": None,
    "weighted": {"method": "shared", "balancer": "static"},
    "mola_grad": None,
}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def suite_of(suite_file):
    """A tiny suite that tunes ``shared``; keyword arguments replace top-level keys."""

    def write(**changes):
        training = {"epochs": 1, "batch": 16, "lr": 0.002}
        return load(suite_file(**{"training": training, "tune": {"trials": 3}, "methods": {"shared": None}, **changes}))

    return write


def pretend(monkeypatch, value=None):
    """Trials that do not train; the value is a function of the settings."""
    drawn = []

    def score(settings, number, place, on_score, on_step):
        drawn.append(settings)
        if value is not None:
            return value(settings)
        return -abs(torch.tensor(settings.training.lr).log10().item() + 2.5)

    monkeypatch.setattr(study, "score", score)
    return drawn


def trials(suite, label="shared"):
    """(values, parameters, user attributes but the seconds) of the finished trials, in order."""
    found = store.finished(opened(suite, label))
    return [(t.value, t.params, {k: v for k, v in t.user_attrs.items() if k != store.SECONDS}) for t in found]


def opened(suite, label="shared"):
    import optuna

    path = suite.cell("digits", label) / "optuna" / "journal.log"
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path.resolve())))
    return optuna.load_study(study_name=None, storage=storage)


def test_every_method_gets_the_same_number_of_trials(suite_of, monkeypatch):
    suite = suite_of(methods=METHODS, tune={"trials": 13})
    pretend(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for label in suite.methods:
            study.tune(suite, "digits", label)
    done = {label: trials(suite, label) for label in suite.methods}
    assert {label: len(told) for label, told in done.items()} == dict.fromkeys(METHODS, 13)
    shared_knobs = {"training.lr", "training.weight_decay"}
    weights = {f"balancer.weights.{task}" for task in ("mnist", "optdigits", "mnistm", "printed")}
    assert set(done["single_task"][0][1]) == set(done["shared"][0][1]) == shared_knobs
    assert set(done["weighted"][0][1]) == shared_knobs | weights
    assert set(done["mola_grad"][0][1]) == shared_knobs | {"method.rank", "method.alpha"}
    for number in range(10):  # before TPE has learnt anything, the shared knobs are drawn in pairs
        drawn = {(told[number][1]["training.lr"], told[number][1]["training.weight_decay"]) for told in done.values()}
        assert len(drawn) == 1
    first = done["mola_grad"][0][1]
    assert (first["training.lr"], first["method.rank"], first["method.alpha"]) == (0.002, 4, 16.0)
    assert all(value == 1.0 for name, value in done["weighted"][0][1].items() if name in weights)
    found = tuned.settings(suite, "digits", "weighted").balancer_options["weights"]
    assert sum(found.values()) == pytest.approx(4)


def test_a_diverged_trial_has_had_its_turn_and_a_draw_that_cannot_be_built_is_drawn_again(suite_of, monkeypatch):
    suite = suite_of(tune={"trials": 6})

    def value(settings):
        if settings.training.lr < 0.0015:
            raise ArithmeticError("diverged")
        if settings.training.lr > 0.009:
            raise study.Refused("too much")
        return settings.training.lr

    drawn = pretend(monkeypatch, value)
    found = study.tune(suite, "digits", "shared")
    rates = [settings.training.lr for settings in drawn]
    assert found["failed"] == sum(rate < 0.0015 for rate in rates) > 0
    assert len(rates) - found["finished"] == sum(rate > 0.009 for rate in rates) > 0
    assert found["finished"] == 6
    assert found["value"] == max(rate for rate in rates if 0.0015 <= rate <= 0.009)
    folder = suite.cell("digits", "shared") / "optuna"
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert [row["state"] for row in rows].count("failed") == found["failed"]
    assert {row["reason"] for row in rows} == {"", "ArithmeticError: diverged"}
    assert all(row["value"] == "" for row in rows if row["state"] == "failed")


def test_draws_that_can_never_be_built_end_in_one_line(suite_of, monkeypatch):
    def value(settings):
        raise study.Refused("a rank of 99")

    pretend(monkeypatch, value)
    with pytest.raises(BadInput, match=r"digits/shared: expected values .* found only: a rank of 99"):
        study.tune(suite_of(), "digits", "shared")


def test_where_every_trial_fails_the_configuration_is_kept_and_the_record_tells(suite_of, monkeypatch):
    suite = suite_of()

    def value(settings):
        raise RuntimeError("CUDA out of memory\nmore lines")

    pretend(monkeypatch, value)
    found = study.tune(suite, "digits", "shared")
    assert (found["value"], found["parameters"], found["failed"]) == (None, {}, 3)
    assert tuned.settings(suite, "digits", "shared") == suite.settings("digits", "shared")
    history = (suite.cell("digits", "shared") / "optuna/history.csv").read_text()
    assert "RuntimeError: CUDA out of memory\n" in history


def test_history_and_importance(suite_of, monkeypatch):
    suite = suite_of(tune={"trials": 12})
    pretend(monkeypatch)
    found = study.tune(suite, "digits", "shared")
    folder = suite.cell("digits", "shared") / "optuna"
    rows = list(csv.DictReader((folder / "history.csv").open()))
    values = [float(row["value"]) for row in rows]
    assert [float(row["best"]) for row in rows] == [max(values[: i + 1]) for i in range(12)]
    assert found["trial"] == values.index(max(values))
    assert float(rows[found["trial"]]["training.lr"]) == found["parameters"]["training"]["lr"]
    shares = {row["knob"]: float(row["importance"]) for row in csv.DictReader((folder / "importance.csv").open())}
    assert shares["training.lr"] > shares["training.weight_decay"]
    assert sum(shares.values()) == pytest.approx(1)


def test_a_longer_budget_prolongs_a_study_and_a_shorter_one_cuts_it(suite_of, monkeypatch):
    pretend(monkeypatch)
    whole = suite_of(suite="whole", tune={"trials": 14})
    study.tune(whole, "digits", "shared")
    study.tune(suite_of(suite="grown", tune={"trials": 4}), "digits", "shared")
    study.tune(grown := suite_of(suite="grown", tune={"trials": 14}), "digits", "shared")
    assert trials(grown) == trials(whole)
    assert study.tune(grown, "digits", "shared") == study.tune(whole, "digits", "shared")
    short = study.tune(suite_of(suite="grown", tune={"trials": 4}), "digits", "shared")
    assert (short["trials"], short["finished"]) == (4, 4)
    assert short["value"] == max(value for value, _, _ in trials(whole)[:4])


def test_draws_follow_from_the_finished_trials_alone(suite_of, monkeypatch):
    """Killed and refused ones leave no trace, nor does what the process drew before."""
    pretend(monkeypatch)
    whole = suite_of(suite="whole", tune={"trials": 14})
    study.tune(whole, "digits", "shared")
    cut = suite_of(suite="cut", tune={"trials": 14})
    for stop in (2, 5, 11, 12):

        def killed(*given, stop=stop):
            if len(store.finished(opened(cut))) == stop:
                raise KeyboardInterrupt
            return -abs(torch.tensor(given[0].training.lr).log10().item() + 2.5)

        monkeypatch.setattr(study, "score", killed)
        with pytest.raises(KeyboardInterrupt):
            study.tune(cut, "digits", "shared")
    pretend(monkeypatch)
    study.tune(cut, "digits", "shared")
    assert trials(cut) == trials(whole)
    states = [trial.state.name for trial in opened(cut).trials]
    assert states.count("FAIL") == 4 and states.count("COMPLETE") == 14 and "RUNNING" not in states


KILLED = """
import os, signal, sys
import torch
from mola.config import load
from mola.training import fit
from mola.tuning import study

torch.set_num_threads(1)
suite, saved, real = load(__import__("pathlib").Path(sys.argv[1])), 0, fit.checkpoint.save

def save(path, state):
    global saved
    real(path, state)
    saved += 1
    if saved == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

fit.checkpoint.save = save
study.tune(suite, "digits", "mola_grad")
"""


@pytest.mark.slow
def test_kill_9_then_the_trials_are_those_of_an_uninterrupted_study(suite_file, tmp_path):
    """It kills itself after the first epoch of the third trial, and the fourth seed's checkpoint of the whole."""
    changes = {"methods": {"mola_grad": None}, "training": {"epochs": 2, "batch": 16, "lr": 0.002}}
    whole = load(suite_file(suite="whole", tune={"trials": 4, "epochs": 2}, **changes))
    study.tune(whole, "digits", "mola_grad")
    path = suite_file(suite="cut", tune={"trials": 4, "epochs": 2}, **changes)
    cut = load(path)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), "5"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = cut.cell("digits", "mola_grad") / "optuna"
    assert [trial.state.name for trial in opened(cut, "mola_grad").trials] == ["COMPLETE", "COMPLETE", "RUNNING"]
    assert (folder / "checkpoint0.pt").is_file()
    torn = (folder / "journal.log").open("ab")
    torn.write(b'{"op_code":5,"worker')  # and another kill in the middle of a write
    torn.close()
    (folder / "journal.log.lock").touch()
    found = study.tune(cut, "digits", "mola_grad")
    assert "resumed after epoch 1" in (folder / "log.txt").read_text()
    assert trials(cut, "mola_grad") == trials(whole, "mola_grad")
    reference = json.loads((whole.cell("digits", "mola_grad") / "optuna/tuned.json").read_text())
    assert found["parameters"] == reference["parameters"] and found["value"] == reference["value"]
    assert not list(folder.glob("checkpoint*"))


def test_a_trial_reads_train_and_valid_alone(suite_of, monkeypatch):
    from mola.benchmarks import Benchmark
    from mola.training import fit

    read, real = set(), Benchmark.batches

    def batches(self, split, **how):
        read.add(split)
        assert split != "test", "tuning must not read test"
        return real(self, split, **how)

    monkeypatch.setattr(Benchmark, "batches", batches)
    evaluated, evaluate = [], fit.evaluate

    def watch(method, benchmark, split, **how):
        evaluated.append(split)
        return evaluate(method, benchmark, split, **how)

    monkeypatch.setattr(fit, "evaluate", watch)
    suite = suite_of(tune={"trials": 2, "seeds": 2})
    found = study.tune(suite, "digits", "shared")
    assert set(evaluated) == {"valid"} and len(evaluated) == 2 * 2 * 2
    assert read <= {"train", "valid"}
    assert found["failed"] == 0
    monkeypatch.setattr(Benchmark, "batches", real)
    runs.train(suite, "digits", "shared", 0)
    assert "test" in evaluated, "the same watch sees a run read it"


def test_the_value_is_the_runs_own_score_of_those_seeds_and_settings(suite_of, monkeypatch):
    """The first trial is the configuration itself: a run of the trial's seed selects the same score on valid."""
    suite = suite_of(tune={"trials": 1}, training={"epochs": 3, "batch": 16, "lr": 0.002})
    found = study.tune(suite, "digits", "shared")
    plain = suite_of(suite="plain", tune=None, training={"epochs": 3, "batch": 16, "lr": 0.002})
    (seed,) = found["seeds"]
    runs.train(plain, "digits", "shared", seed)
    record = json.loads((plain.cell("digits", "shared") / f"seed{seed}/record.json").read_text())
    accuracies = [scores["accuracy"] for scores in record["valid"].values()]
    assert found["value"] == sum(accuracies) / len(accuracies)


def test_training_takes_what_tuning_found(suite_of, monkeypatch):
    suite = suite_of(tune={"trials": 12})
    folder = suite.cell("digits", "shared")
    assert state(suite, "digits", "shared", 0) == "to tune"
    with pytest.raises(BadInput, match=r"tuned.json: .*no such file; mola tune -b digits -m shared first"):
        runs.train(suite, "digits", "shared", 0)
    assert not suite.folder.exists()
    pretend(monkeypatch)
    found = study.tune(suite, "digits", "shared")
    assert state(suite, "digits", "shared", 0) == "to do"
    assert inputs(suite, "digits", "shared")["settings"]["training"]["lr"] == found["parameters"]["training"]["lr"]
    assert runs.train(suite, "digits", "shared", 0) == "done"
    record = json.loads((folder / "seed0/record.json").read_text())
    assert record["config"]["training"]["lr"] == found["parameters"]["training"]["lr"] != 0.002
    assert record["tuned"] == {key: found[key] for key in ("trials", "value", "parameters")}
    assert state(suite, "digits", "shared", 0) == "done"

    path = folder / "optuna/tuned.json"
    path.write_text(json.dumps(found | {"parameters": {"training": {"lr": 0.5}}}))
    assert state(suite, "digits", "shared", 0) == "stale", "a run's fingerprint depends on what tuning found"
    path.write_text("{")
    assert state(suite, "digits", "shared", 0) == "to tune"
    with pytest.raises(BadInput, match=r"tuned.json: .*unreadable"):
        runs.train(suite, "digits", "shared", 0)
    path.write_text(json.dumps(found))
    other = suite_of(tune={"trials": 12, "space": {"lr": [0.1, 0.2]}})
    with pytest.raises(BadInput, match=r"tuned.json: .*other code, settings, splits or search space"):
        runs.train(other, "digits", "shared", 0)
    more = suite_of(tune={"trials": 20})
    with pytest.raises(BadInput, match="result of 20 trials, found that of 12"):
        runs.train(more, "digits", "shared", 0)
    off = suite_of(tune=False)
    assert tuned.settings(off, "digits", "shared").training.lr == 0.002
    assert "tuned" not in inputs(off, "digits", "shared")


def test_a_changed_study_is_refused_with_what_changed_until_restart(suite_of, monkeypatch):
    pretend(monkeypatch)
    study.tune(suite_of(), "digits", "shared")
    for changes, told in [
        ({"tune": {"trials": 3, "space": {"lr": [0.1, 0.2]}}}, r"space.training.lr: \[0.0002, 0.02, True\] → "),
        ({"training": {"epochs": 1, "batch": 8, "lr": 0.002}}, "settings.training.batch: 16 → 8"),
        ({"tune": {"trials": 3, "seeds": 2}}, "tune.seeds: 1 → 2"),
    ]:
        with pytest.raises(BadInput, match=f"changed: .*{told}.*mola tune --restart"):
            study.tune(suite_of(**changes), "digits", "shared")
    real = tuned.fingerprint
    monkeypatch.setattr(tuned, "fingerprint", lambda *given: real(*given) | {"code": "other", "all": "other"})
    with pytest.raises(BadInput, match="found changed: code; mola tune --restart"):
        study.tune(suite_of(), "digits", "shared")
    monkeypatch.undo()
    pretend(monkeypatch)
    suite = suite_of(tune={"trials": 5, "seeds": 2})
    assert study.tune(suite, "digits", "shared", restart=True)["finished"] == 5
    assert (suite.cell("digits", "shared") / "optuna/journal.old.log").is_file()


def test_a_pruned_study_spends_the_epochs_of_its_whole_trials(suite_of, monkeypatch):
    """Every method's study the same number, however often it is pruned; and a killed one tells its epochs again."""
    stopped = []

    def score(settings, number, place, on_score, on_step):
        for epoch in range(1, 11):
            on_score(epoch, -abs(settings.training.lr - 0.002) * epoch)
            if epoch in stopped and len(store.finished(opened(cut))) == 12:
                stopped.remove(epoch)
                raise KeyboardInterrupt
        return -abs(settings.training.lr - 0.002)

    monkeypatch.setattr(study, "score", score)
    changes = {"training": {"epochs": 10, "batch": 16, "lr": 0.002}, "tune": {"trials": 12, "pruner": "median"}}
    suite = suite_of(methods={"shared": None, "weighted": METHODS["weighted"]}, **changes)
    for label in suite.methods:
        found = study.tune(suite, "digits", label)
        assert found["pruned"] > 0 and found["finished"] > 12
        assert sum(told[store.EPOCHS] for _, _, told in trials(suite, label)) == 120
    cut = suite_of(suite="cut", **changes)
    stopped.append(3)
    with pytest.raises(KeyboardInterrupt):
        study.tune(cut, "digits", "shared")
    study.tune(cut, "digits", "shared")
    assert trials(cut) == trials(suite)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tune": None}, "tune: expected a section"),
        ({"tune": {"space": {"lr": None, "weight_decay": None}}}, "methods.shared: expected a knob to tune"),
        ({"methods": {"shared": {"training": {"lr": 0.1, "weight_decay": 0.1}}}}, "methods.shared: expected a knob"),
    ],
)
def test_nothing_to_tune(suite_of, changes, told):
    suite = suite_of(**changes)
    with pytest.raises(BadInput, match=told):
        study.tune(suite, "digits", "shared")
    assert not suite.folder.exists()


def test_the_reported_split_is_not_tuned_on(suite_of):
    suite = suite_of(benchmarks={"vlcs": {"split": "paper", "official": False}})
    with pytest.raises(BadInput, match=r"benchmarks.vlcs.split: expected a split whose valid is not reported"):
        study.tune(suite, "vlcs", "shared")
