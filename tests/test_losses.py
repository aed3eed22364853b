import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mola.losses import task_decorrelation, task_losses
from mola.types import Batch, Output, Task


def double_sum(scores, task, temperature):
    """The definition, term by term."""
    z = scores / scores.norm(dim=1, keepdim=True)
    n, terms = len(z), []
    for i in range(n):
        for j in range(n):
            if i != j and task[i] == task[j]:
                below = sum(torch.exp(z[i] @ z[m] / temperature) for m in range(n) if m != i)
                terms.append(-torch.log(torch.exp(z[i] @ z[j] / temperature) / below))
    return torch.stack(terms).mean()


@given(st.integers(3, 9), st.integers(1, 5), st.integers(1, 3), st.floats(0.2, 3), st.integers(0, 2**31))
def test_decorrelation_is_the_double_sum(size, width, tasks, temperature, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(size, width, dtype=torch.float64, generator=generator).requires_grad_()
    task = torch.randint(tasks, (size,), generator=generator)
    task[1] = task[0]  # at least one pair
    ours, expected = task_decorrelation(scores, task, temperature), double_sum(scores, task, temperature)
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        torch.autograd.grad(ours, scores)[0], torch.autograd.grad(expected, scores)[0], rtol=1e-8, atol=1e-10
    )


def test_decorrelation_gradient_by_finite_differences():
    scores = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    task = torch.tensor([0, 0, 1, 1, 2, 0])
    assert torch.autograd.gradcheck(lambda s: task_decorrelation(s, task, 0.7), scores)


def test_decorrelation_stays_finite_at_a_small_temperature():
    scores = torch.randn(64, 4, requires_grad=True)
    loss = task_decorrelation(scores, torch.arange(64) % 4, temperature=0.005)
    loss.backward()
    assert loss.isfinite()
    assert scores.grad.isfinite().all()
    assert scores.grad.abs().sum() > 0


@pytest.mark.parametrize("task", [[0], [0, 1, 2], []])
def test_decorrelation_is_zero_without_a_pair(task):
    scores = torch.randn(len(task), 3, requires_grad=True)
    loss = task_decorrelation(scores, torch.tensor(task, dtype=torch.long))
    loss.backward()
    assert loss == 0
    assert (scores.grad == 0).all()


def test_decorrelation_rewards_what_it_should():
    task = torch.tensor([0, 0, 1, 1])
    apart = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    assert task_decorrelation(apart, task) < task_decorrelation(torch.ones(4, 2), task)
    assert task_decorrelation(torch.ones(4, 2), task).item() == pytest.approx(math.log(3))


def test_decorrelation_is_fp32_under_autocast():
    scores, task = torch.randn(8, 4), torch.arange(8) % 2
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(task_decorrelation(scores, task), task_decorrelation(scores, task).float())
        inside = task_decorrelation(scores, task)
    assert torch.equal(inside, task_decorrelation(scores, task))


def test_absent_tasks_have_no_loss():
    tasks = [Task("a", "classes", 3, ("accuracy",)), Task("b", "classes", 2, ("accuracy",))]
    batch = Batch(torch.zeros(2, 3, 4, 4), torch.tensor([1, 1]), {"b": torch.tensor([0, 1])}, ("a", "b"))
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    losses = task_losses(tasks, Output({"b": logits}), batch)
    assert list(losses) == ["b"]
    assert losses["b"].item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_losses_by_share_sum_to_the_mean_over_the_batch():
    tasks = tuple(Task(name, "classes", 5, ("accuracy",)) for name in ("many", "few"))
    task = torch.tensor([0, 0, 0, 0, 0, 1])
    predictions, y = {"many": torch.randn(5, 5), "few": torch.randn(1, 5)}, torch.randint(5, (6,))
    batch = Batch(torch.zeros(6, 3, 2, 2), task, {"many": y[:5], "few": y[5:]}, ("many", "few"))
    shared_out = task_losses(tasks, Output(predictions), batch, share=True)
    pooled = torch.nn.functional.cross_entropy(torch.cat(list(predictions.values())), y)
    torch.testing.assert_close(sum(shared_out.values()), pooled)
    equal = task_losses(tasks, Output(predictions), batch)
    torch.testing.assert_close(shared_out["few"], equal["few"] / 6)
