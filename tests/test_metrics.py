import math

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from mola.metrics.classes import classification


def test_against_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(5, (300,), generator=generator)
    logits = torch.randn(300, 5, generator=generator) + 2 * torch.nn.functional.one_hot(targets, 5)
    ours = classification(logits, targets)
    assert ours["accuracy"] == pytest.approx((logits.argmax(1) == targets).double().mean().item())
    assert ours["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(targets, logits.argmax(1)))
    wanted = roc_auc_score(targets, logits.softmax(1), multi_class="ovr", average="macro")
    assert ours["auc"] == pytest.approx(wanted, abs=1e-5)


def test_an_absent_class_counts_neither_as_zero_nor_as_one():
    targets = torch.tensor([0, 0, 1, 1])
    logits = torch.tensor([[3.0, 0, 0], [2, 0, 0], [0, 3, 0], [2, 0, 0]])
    ours = classification(logits, targets)
    assert ours["balanced_accuracy"] == pytest.approx(0.75)  # recalls 1 and 1/2; class 2 does not occur
    assert ours["auc"] == pytest.approx(0.875)  # by hand: for both classes 3 of 4 pairs in order and one tie


def test_a_diverged_model_has_no_metrics():
    logits = torch.full((4, 3), float("nan"))
    assert all(math.isnan(value) for value in classification(logits, torch.tensor([0, 1, 2, 0])).values())
