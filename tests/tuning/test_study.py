"""What a study reads, writes and refuses; and that training takes what it found."""

import csv
import json

import optuna
import pytest
from studies import pretend

from mola.experiment import run as runs
from mola.experiment import spec
from mola.experiment.spec import experiment
from mola.experiment.status import state
from mola.files import with_checksum
from mola.tuning import study
from mola.types import BadInput


def test_history_and_importance(suite_of, monkeypatch):
    suite = suite_of(tune={"trials": 12})
    pretend(monkeypatch)
    result = study.tune(experiment(suite, "digits", "shared"))
    folder = experiment(suite, "digits", "shared").folder / "optuna"
    rows = list(csv.DictReader((folder / "history.csv").open()))
    values = [float(row["value"]) for row in rows]
    assert [float(row["best"]) for row in rows] == [max(values[: i + 1]) for i in range(12)]
    assert result["trial"] == values.index(max(values))
    assert float(rows[result["trial"]]["training.lr"]) == result["parameters"]["training"]["lr"]
    shares = {row["knob"]: float(row["importance"]) for row in csv.DictReader((folder / "importance.csv").open())}
    assert shares["training.lr"] > shares["training.weight_decay"]
    assert sum(shares.values()) == pytest.approx(1)


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
    result = study.tune(experiment(suite, "digits", "shared"))
    assert set(evaluated) == {"valid"} and len(evaluated) == 2 * 2 * 2
    assert read <= {"train", "valid"}
    assert result["failed"] == 0
    monkeypatch.setattr(Benchmark, "batches", real)
    runs.train(experiment(suite, "digits", "shared"), 0)
    assert "test" in evaluated, "the same watch sees a run read it"


def test_the_value_is_the_runs_own_score_of_those_seeds_and_settings(suite_of, monkeypatch):
    """The first trial is the configuration itself: a run of the trial's seed selects the same score on valid."""
    suite = suite_of(tune={"trials": 1}, training={"epochs": 3, "batch_size": 16, "lr": 0.002})
    result = study.tune(experiment(suite, "digits", "shared"))
    plain = suite_of(suite="plain", tune=None, training={"epochs": 3, "batch_size": 16, "lr": 0.002})
    (seed,) = result["seeds"]
    runs.train(experiment(plain, "digits", "shared"), seed)
    record = json.loads((experiment(plain, "digits", "shared").folder / f"seed{seed}/record.json").read_text())
    accuracies = [scores["accuracy"] for scores in record["valid"].values()]
    assert result["value"] == sum(accuracies) / len(accuracies)


def test_training_takes_what_tuning_found(suite_of, monkeypatch):
    suite = suite_of(tune={"trials": 12})
    folder = experiment(suite, "digits", "shared").folder
    assert state(experiment(suite, "digits", "shared"), 0) == "to tune"
    with pytest.raises(
        BadInput, match=r"tuned.json: .*no such file; run `mola tune -b digits -m shared` with the same --config first"
    ):
        runs.train(experiment(suite, "digits", "shared"), 0)
    assert not suite.folder.exists()
    pretend(monkeypatch)
    result = study.tune(experiment(suite, "digits", "shared"))
    assert state(experiment(suite, "digits", "shared"), 0) == "to do"
    assert (
        experiment(suite, "digits", "shared").settings.model_dump()["training"]["lr"]
        == result["parameters"]["training"]["lr"]
    )
    assert runs.train(experiment(suite, "digits", "shared"), 0).status == "done"
    record = json.loads((folder / "seed0/record.json").read_text())
    assert record["settings"]["training"]["lr"] == result["parameters"]["training"]["lr"] != 0.002
    assert record["tuned"] == {key: result[key] for key in ("trials", "value", "parameters")}
    assert state(experiment(suite, "digits", "shared"), 0) == "done"

    path = folder / "optuna/tuned.json"
    path.write_text(json.dumps(result | {"parameters": {"training": {"lr": 0.5}}}))
    assert state(experiment(suite, "digits", "shared"), 0) == "to tune"
    with pytest.raises(BadInput, match=r"tuned.json: .*changed since it was written"):
        runs.train(experiment(suite, "digits", "shared"), 0)
    path.write_text(json.dumps(with_checksum(result | {"parameters": {"training": {"lr": 0.5}}})))
    assert state(experiment(suite, "digits", "shared"), 0) == "stale", (
        "a run's fingerprint depends on what tuning found"
    )
    path.write_text("{")
    assert state(experiment(suite, "digits", "shared"), 0) == "to tune"
    with pytest.raises(BadInput, match=r"tuned.json: .*unreadable"):
        runs.train(experiment(suite, "digits", "shared"), 0)
    path.write_text(json.dumps(result))
    other = suite_of(tune={"trials": 12, "space": {"lr": [0.1, 0.2]}})
    with pytest.raises(BadInput, match=r"tuned.json: .*other code, settings, splits or search space"):
        runs.train(experiment(other, "digits", "shared"), 0)
    more = suite_of(tune={"trials": 20})
    with pytest.raises(BadInput, match="result of 20 trials, found that of 12"):
        runs.train(experiment(more, "digits", "shared"), 0)
    watched = suite_of(tune={"trials": 12}, probes={"routing": 2})
    assert experiment(watched, "digits", "shared").tuning_result == result, "watching changes no trial"
    off = suite_of(tune=False)
    assert experiment(off, "digits", "shared").settings.training.lr == 0.002
    assert experiment(off, "digits", "shared").tuned_summary is None


def test_a_changed_study_is_refused_with_what_changed_until_restart(suite_of, monkeypatch):
    pretend(monkeypatch)
    study.tune(experiment(suite_of(), "digits", "shared"))
    for changes, expected in [
        ({"tune": {"trials": 3, "space": {"lr": [0.1, 0.2]}}}, r"space.training.lr: \[0.0002, 0.02, True\] → "),
        ({"training": {"epochs": 1, "batch_size": 8, "lr": 0.002}}, "settings.training.batch_size: 16 → 8"),
        ({"tune": {"trials": 3, "seeds": 2}}, "tune.seeds: 1 → 2"),
    ]:
        with pytest.raises(BadInput, match=f"changed: .*{expected}.*mola tune --restart"):
            study.tune(experiment(suite_of(**changes), "digits", "shared"))
    real = spec.fingerprint
    monkeypatch.setattr(spec, "fingerprint", lambda *given: real(*given) | {"code": "other", "all": "other"})
    with pytest.raises(BadInput, match="found changed: code; mola tune --restart"):
        study.tune(experiment(suite_of(), "digits", "shared"))
    monkeypatch.undo()
    pretend(monkeypatch)
    suite = suite_of(tune={"trials": 5, "seeds": 2})
    assert study.tune(experiment(suite, "digits", "shared"), restart=True)["finished"] == 5
    assert (experiment(suite, "digits", "shared").folder / "optuna/journal.old.log").is_file()


def test_another_optuna_is_another_study(suite_of, monkeypatch):
    pretend(monkeypatch)
    result = study.tune(experiment(suite_of(), "digits", "shared"))
    assert result["optuna"] == optuna.__version__
    monkeypatch.setattr(optuna, "__version__", "99.0")
    with pytest.raises(BadInput, match=f"changed: optuna: {result['optuna']} → 99.0; mola tune --restart begins anew"):
        study.tune(experiment(suite_of(), "digits", "shared"))
    assert study.tune(experiment(suite_of(), "digits", "shared"), restart=True)["optuna"] == "99.0"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tune": None}, "tune: expected a section"),
        ({"tune": {"space": {"lr": None, "weight_decay": None}}}, "methods.shared: expected a knob to tune"),
        ({"methods": {"shared": {"training": {"lr": 0.1, "weight_decay": 0.1}}}}, "methods.shared: expected a knob"),
    ],
)
def test_nothing_to_tune(suite_of, changes, expected):
    suite = suite_of(**changes)
    with pytest.raises(BadInput, match=expected):
        study.tune(experiment(suite, "digits", "shared"))
    assert not suite.folder.exists()


def test_the_reported_split_is_not_tuned_on(suite_of):
    suite = suite_of(benchmarks={"vlcs": {"split": "paper", "official": False}})
    with pytest.raises(BadInput, match=r"benchmarks.vlcs.split: expected a split whose valid is not reported"):
        study.tune(experiment(suite, "vlcs", "shared"))
