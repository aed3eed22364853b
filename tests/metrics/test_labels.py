"""Metrics of labels and numbers of whole images, against scikit-learn: ties, missing targets, any batches."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from mola.metrics import names, of, undefined
from mola.metrics.accumulators import accumulator
from mola.types import BadInput, Task

SEEDS = range(6)
MEAN, STD = 2000.0, 3.0


def collect(task, predictions, targets, sizes=()):
    """The metrics after batches of these sizes and one of what is left."""
    collected, sizes = accumulator(task), [*sizes, len(targets) - sum(sizes)]
    for part in zip(predictions.split(sizes), targets.split(sizes), strict=True):
        collected.update(*part)
    return collected.compute()


def several(count=5):
    return Task("t", "multilabel", count, names("multilabel"))


def labels(seed, number=80, count=5, ties=False, missing=0.0):
    generator = torch.Generator().manual_seed(seed)
    targets = (torch.rand(number, count, generator=generator) < torch.linspace(0.1, 0.6, count)).float()
    scores = torch.randn(number, count, generator=generator) + targets
    gaps = torch.rand(number, count, generator=generator) < missing
    targets[gaps] = torch.where(torch.rand(number, count, generator=generator) < 0.5, math.nan, -1.0)[gaps]
    return (scores * 2).round() / 2 if ties else scores, targets


def macro(score, scores, targets, both):
    """scikit-learn's, label by label, over what is known; labels without positives (or without negatives) left out."""
    values = []
    for k in range(scores.shape[1]):
        known = targets[:, k] >= 0
        truth = targets[known, k].numpy()
        if truth.sum() and (not both or truth.sum() < len(truth)):
            values.append(score(truth, scores[known, k].numpy()))
    return float(np.mean(values))


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_several_labels_against_scikit_learn(seed, ties, missing):
    scores, targets = labels(seed, ties=ties, missing=missing)
    ours = collect(several(), scores, targets)
    assert ours["mean_average_precision"] == pytest.approx(macro(average_precision_score, scores, targets, False))
    assert ours["auc"] == pytest.approx(macro(roc_auc_score, scores, targets, True))
    assert collect(several(), scores, targets, (1, 30, 7)) == ours


def test_a_label_without_positives_counts_for_nothing():
    scores, targets = labels(0)
    some = collect(several(4), scores[:, 1:], targets[:, 1:])
    targets[:, 0] = 0
    assert collect(several(), scores, targets) == some
    targets[:, 0] = 1
    more = collect(several(), scores, targets)
    assert more["mean_average_precision"] == pytest.approx((4 * some["mean_average_precision"] + 1) / 5)
    assert more["auc"] == some["auc"], "without negatives there is nothing to rank"


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("column", [False, True])
def test_a_number_against_scikit_learn(seed, missing, column):
    generator = torch.Generator().manual_seed(seed)
    targets = MEAN + STD * torch.randn(60, generator=generator)
    predicted = 0.8 * (targets - MEAN) / STD + 0.3 * torch.randn(60, generator=generator)
    targets[torch.rand(60, generator=generator) < missing] = math.nan
    task = Task("t", "regression", 1, names("regression"), MEAN, STD)
    shown = targets[:, None] if column else targets
    ours = collect(task, predicted[:, None], shown)
    known = ~targets.isnan()
    truth, values = targets[known].double(), MEAN + STD * predicted[known].double()
    assert ours["mean_absolute_error"] == pytest.approx(mean_absolute_error(truth, values))
    assert ours["root_mean_squared_error"] == pytest.approx(root_mean_squared_error(truth, values))
    assert ours["r2"] == pytest.approx(r2_score(truth, values))
    assert collect(task, predicted[:, None], shown, (5, 1, 20)) == ours


@pytest.mark.parametrize("seed", SEEDS)
def test_classes_without_a_label_are_left_out(seed):
    generator = torch.Generator().manual_seed(seed)
    targets, scores = torch.randint(3, (50,), generator=generator), torch.randn(50, 3, generator=generator)
    known = torch.rand(50, generator=generator) < 0.6
    targets[~known] = -1
    task = Task("t", "classes", 3, names("classes"))
    ours, truth, guess = collect(task, scores, targets), targets[known], scores[known].argmax(1)
    assert ours == collect(task, scores[known], truth) == collect(task, scores, targets, (9, 20))
    assert ours["accuracy"] == pytest.approx(accuracy_score(truth, guess))
    assert ours["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, guess))


@given(st.integers(2, 40), st.integers(1, 4), st.integers(0, 2**31))
def test_average_precision_whatever_the_ties(number, values, seed):
    draws = np.random.default_rng(seed)
    positive, scores = draws.random(number) < 0.4, draws.integers(values, size=number).astype(float)
    positive[draws.integers(number)] = True
    task = Task("t", "multilabel", 1, ("mean_average_precision",))
    ours = collect(task, torch.from_numpy(scores)[:, None], torch.from_numpy(positive)[:, None].float())
    assert ours["mean_average_precision"] == pytest.approx(average_precision_score(positive, scores))


def test_a_metric_that_the_targets_do_not_define_is_no_divergence():
    numbers = Task("n", "regression", 1, names("regression"))
    constant = collect(numbers, torch.randn(8, 1), torch.full((8,), 3.0))
    assert math.isnan(constant["r2"]) and math.isfinite(constant["mean_absolute_error"])
    assert [metric.name for metric in undefined(numbers, constant | {"loss": 1.0})] == ["r2"]
    assert undefined(numbers, constant | {"loss": math.nan}) == ()
    nothing = collect(several(2), torch.randn(8, 2), torch.zeros(8, 2))
    assert undefined(several(2), nothing | {"loss": 0.7}) == of(several(2))
    classes = Task("c", "classes", 2, names("classes"))
    one_class = collect(classes, torch.randn(8, 2), torch.zeros(8, dtype=torch.int64))
    assert [metric.name for metric in undefined(classes, one_class | {"loss": 0.7})] == ["auc"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("kind", ["multilabel", "regression", "classes"])
def test_a_prediction_that_is_not_finite_makes_every_metric_so(kind, value):
    targets = {"classes": torch.arange(8) % 2, "multilabel": torch.eye(2).repeat(4, 1), "regression": torch.arange(8.0)}
    predictions = torch.randn(8, 1 if kind == "regression" else 2)
    predictions[3] = value
    task = Task("t", kind, predictions.shape[1], names(kind))
    assert all(math.isnan(v) for v in collect(task, predictions, targets[kind]).values())
    unknown = torch.full_like(targets[kind], -1 if kind == "classes" else math.nan)
    assert all(math.isnan(v) for v in collect(task, torch.zeros_like(predictions), unknown).values())


def test_directions_units_and_titles():
    assert [(m.label, m.better, m.gain) for m in of(Task("t", "regression", 1, names("regression")))] == [
        ("MAE", "lower", "relative"), ("R²", "higher", "absolute"), ("RMSE", "lower", "relative"),
    ]  # fmt: skip
    assert [m.label for m in of(several())] == ["mAP (%)", "auc (%)"]


@pytest.mark.parametrize(("outputs", "std"), [(2, 1.0), (1, 0.0), (1, math.nan), (1, math.inf)])
def test_a_regression_that_cannot_be_trained_is_refused(outputs, std):
    with pytest.raises(BadInput, match="task age: expected"):
        Task("age", "regression", outputs, names("regression"), 1.0, std)
