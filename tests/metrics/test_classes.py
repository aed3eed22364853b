import math

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from mola.metrics import names
from mola.metrics.accumulators import accumulator
from mola.types import Task


def measure(logits, targets, parts=1):
    classes = accumulator(Task("t", "classes", logits.shape[1], names("classes")))
    for part in zip(logits.chunk(parts), targets.chunk(parts), strict=True):
        classes.update(*part)
    return classes.compute()


def sample(classes=5, number=300):
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(classes, (number,), generator=generator)
    logits = torch.randn(number, classes, generator=generator)
    return logits + 2 * torch.nn.functional.one_hot(targets, classes), targets


def areas(logits, targets):
    """scikit-learn's, one class against the rest, of log p_k − log(1 − p_k) term by term."""
    logits, result = logits.double(), []
    for k in range(logits.shape[1]):
        rest = torch.cat([logits[:, :k], logits[:, k + 1 :]], dim=1)
        result.append(roc_auc_score(targets == k, logits[:, k] - rest.logsumexp(1)))
    return sum(result) / len(result)


def test_against_scikit_learn():
    logits, targets = sample()
    ours = measure(logits, targets)
    assert ours["accuracy"] == pytest.approx((logits.argmax(1) == targets).double().mean().item())
    assert ours["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(targets, logits.argmax(1)))
    assert ours["auc"] == pytest.approx(
        roc_auc_score(targets, logits.double().softmax(1), multi_class="ovr", average="macro"), abs=1e-9
    )
    assert measure(logits, targets, parts=7) == ours


@pytest.mark.parametrize("factor", [1, 20, 40, 80, 1000])
@pytest.mark.parametrize("classes", [2, 9])
def test_confidence_makes_no_ties(factor, classes):
    logits, targets = sample(classes, 2000)
    assert measure(factor * logits, targets)["auc"] == pytest.approx(areas(factor * logits, targets), abs=1e-9)
    assert measure(factor * logits, targets)["auc"] == pytest.approx(measure(20 * logits, targets)["auc"], abs=2e-3)


def test_ties_count_half():
    """All samples alike, and half of them alike."""
    targets = torch.tensor([0, 1, 0, 1])
    assert measure(torch.zeros(4, 2), targets)["auc"] == 0.5
    assert measure(torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1]]), targets)["auc"] == 0.75


def test_an_absent_class_counts_neither_as_zero_nor_as_one():
    targets = torch.tensor([0, 0, 1, 1])
    logits = torch.tensor([[3.0, 0, 0], [2, 0, 0], [0, 3, 0], [2, 0, 0]])
    ours = measure(logits, targets)
    assert ours["balanced_accuracy"] == pytest.approx(0.75)  # recalls 1 and 1/2; class 2 does not occur
    assert ours["auc"] == pytest.approx(0.875)  # by hand: for both classes 3 of 4 pairs in order and one tie
    assert math.isnan(measure(logits[:2], targets[:2])["auc"])


def test_a_diverged_model_has_no_metrics():
    logits = torch.full((4, 3), float("nan"))
    assert all(math.isnan(value) for value in measure(logits, torch.tensor([0, 1, 2, 0])).values())
