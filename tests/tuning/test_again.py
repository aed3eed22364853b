"""The best trial once more: equal as it is, different where code draws or scores otherwise."""

import pytest
from studies import METHODS, near, pretend, pretend_parts, scored

from mola.experiment.spec import experiment
from mola.tuning import again, budget, space, store, study

GRID = {"grid": {"lr": [0.004, 0.001, 0.002]}, "seeds": 2}


@pytest.fixture
def tuned(suite_of, monkeypatch):
    """A tuned row; trials do not train."""

    def tune(label="shared", tune=GRID, score=near):
        suite = suite_of(methods=METHODS, tune=tune)
        pretend(monkeypatch, score)
        row = experiment(suite, "digits", label)
        study.tune(row)
        return experiment(suite, "digits", label)

    return tune


def differences(row, tmp_path):
    """And nothing is written where the study lies."""
    files = {p: p.read_bytes() for p in row.study_folder.rglob("*") if p.is_file()}
    (tmp_path / "scratch").mkdir(exist_ok=True)
    texts = again.differences(row, tmp_path / "scratch")
    assert {p: p.read_bytes() for p in row.study_folder.rglob("*") if p.is_file()} == files
    return texts


@pytest.mark.parametrize("label", ["shared", "weighted"])
@pytest.mark.parametrize("tune", [{"trials": 12}, GRID], ids=["tpe", "grid"])
def test_the_same_code_gives_the_same_trial(tuned, tmp_path, monkeypatch, tune, label):
    row = tuned(label, tune)
    assert differences(row, tmp_path) == []
    pretend(monkeypatch, lambda settings: near(settings) + 1e-12)
    (text,) = differences(row, tmp_path)
    assert text.startswith(f"score {row.tuning_result['value']}, here ")


def test_a_pruner_looks_at_the_same_trials(suite_of, tmp_path, monkeypatch):
    def score(settings, number, workplace, on_score, on_step):
        for epoch in range(1, 11):
            on_score(epoch, near(settings) - 1 / epoch)
        return scored(near(settings))

    monkeypatch.setattr(budget, "score", score)
    changes = {"training": {"epochs": 10, "batch_size": 16, "lr": 0.002}, "tune": {"trials": 12, "pruner": "median"}}
    row = experiment(suite_of(**changes), "digits", "shared")
    assert study.tune(row)["pruned"] > 0
    row = experiment(row.suite, "digits", "shared")
    assert row.tuning_result["trial"] > 2 and differences(row, tmp_path) == []


def test_draws_that_were_refused_count_as_they_did(tuned, tmp_path):
    slots = []

    def value(settings):
        slots.append(settings)
        if len(slots) in (2, 3):
            raise budget.Refused("no such rank")
        return -1.0 if len(slots) < 5 else float(len(slots) < 6)

    row = tuned(tune={"trials": 5}, score=value)
    assert row.tuning_result["trial"] == 2 and len(slots) == 7
    texts = differences(row, tmp_path)
    assert [text.split(",")[0] for text in texts] == ["score 1.0"], "the values are drawn as they were"


def test_other_draws_and_another_space_are_said(tuned, tmp_path, monkeypatch):
    row = tuned()
    points = space.points
    with monkeypatch.context() as patch:
        patch.setattr(space, "points", lambda knobs: points(knobs)[::-1])
        assert any(text.startswith("training.lr 0.004, here 0.002") for text in differences(row, tmp_path))
    knobs = space.knobs
    monkeypatch.setattr(space, "knobs", lambda *words: {"training.lr": knobs(*words)["training.lr"][:2]})
    assert differences(row, tmp_path) == ["the search space"]


def test_every_part_has_its_score(tuned, tmp_path, monkeypatch):
    parts = {"mnist": 0.5, "optdigits": 0.25}
    row = tuned()
    pretend_parts(monkeypatch, lambda settings: (near(settings), parts))
    study.tune(row, restart=True)
    row = experiment(row.suite, "digits", "shared")
    assert row.tuning_result["parts"].keys() == parts.keys() and differences(row, tmp_path) == []
    pretend_parts(monkeypatch, lambda settings: (near(settings), {**parts, "mnist": 0.75}))
    assert differences(row, tmp_path) == ["score of mnist 0.5, here 0.75"]


def test_a_journal_that_is_not_of_the_result_proves_nothing(tuned, tmp_path):
    row = tuned()
    row.tuning_result["value"] = 7.0
    assert "expected the study of tuned.json" in differences(row, tmp_path)[0]
    (row.study_folder / store.JOURNAL).unlink()
    (text,) = differences(row, tmp_path)
    assert text.startswith("journal.log: expected the study of tuned.json, found FileNotFoundError")


def test_a_study_without_a_finite_score_tries_the_first_trial(tuned, tmp_path, monkeypatch):
    def diverge(settings):
        raise ArithmeticError("diverged")

    row = tuned(score=diverge)
    assert row.tuning_result["value"] is None and differences(row, tmp_path) == []
    pretend(monkeypatch)
    assert differences(row, tmp_path)[0].startswith("score -inf, here ")
