"""What every balancer has to do with the losses of a batch."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mola.conformance.fault import require
from mola.conformance.problem import CONFLICT, NAMES, VALUES, Problem
from mola.types import Balancer, Task

# tasks → a fresh balancer of them
Build = Callable[[Sequence[Task]], Balancer]


def tasks_of(number: int) -> tuple[Task, ...]:
    """Tasks of three classes each."""
    return tuple(Task(name, "classes", 3, ("accuracy",)) for name in NAMES[:number])


def gives_finite_gradients(build: Build) -> None:
    """Every shared and private parameter gets a finite gradient, and not all of them are zero."""
    torch.manual_seed(0)
    shared, private = Problem(CONFLICT, VALUES).update(build(tasks_of(3)))
    require(shared.isfinite().all() and private.isfinite().all(), "backward: expected finite gradients, found others")
    require(shared.abs().sum() > 0, "backward: expected gradients of the shared parameters, found none")
    require((private != 0).all(), "backward: expected gradients of the tasks' own parameters, found none of some")


def accumulates(build: Build) -> None:
    """Gradients are added to those that are there, as a backward pass does."""
    problem = Problem(CONFLICT, VALUES)
    torch.manual_seed(0)
    once, alone = problem.update(build(tasks_of(3)))
    for p in [*problem.shared, *problem.private.values()]:
        p.grad = torch.ones_like(p)
    torch.manual_seed(0)
    shared, private = problem.accumulated(build(tasks_of(3)))
    same = torch.allclose(shared, once + 1) and torch.allclose(private, alone + 1)
    require(same, "backward: expected gradients to be added to .grad, found them replaced or scaled")


def adds_the_aux_loss(build: Build) -> None:
    """An auxiliary loss reaches the shared parameters, as under the plain sum."""
    problem, direction = Problem(CONFLICT, VALUES), torch.tensor([1.0, -2.0]).double()[:, None]
    torch.manual_seed(0)
    without, _ = problem.update(build(tasks_of(3)))
    torch.manual_seed(0)
    with_it, _ = problem.update(build(tasks_of(3)), aux_loss=(direction * problem.shared[0]).sum())
    expected = torch.tensor([1.0, -2.0, 0.0, 0.0]).double()
    require(torch.allclose(with_it - without, expected), "backward: expected aux_loss to be added with its gradient")


def takes_batches_that_lack_tasks(build: Build) -> None:
    """Tasks are known by name: any of them may be absent, and come back."""
    balancer = build(tasks_of(4))
    rows = torch.cat([CONFLICT, -CONFLICT[:1] + 0.3])
    for present in ([0, 1, 2, 3], [1, 3], [2], [0, 2, 3], [3, 1], [0, 1, 2, 3]):
        names = tuple(NAMES[i] for i in present)
        shared, private = Problem(rows[present], [1.0 + i for i in present], names).update(balancer)
        fine = shared.isfinite().all() and private.isfinite().all() and shared.abs().sum() > 0
        require(fine, f"backward: expected finite gradients for a batch of the tasks {', '.join(names)} of a, b, c, d")
        balancer.end_epoch()


def leaves_one_task_as_it_is(build: Build) -> None:
    """With a single task there is nothing to balance: the update is the gradient of its loss."""
    shared, _ = Problem(CONFLICT[:1], [0.7]).update(build(tasks_of(1)))
    require(torch.allclose(shared, CONFLICT[0]), "backward: expected the gradient of the loss where there is one task")


def goes_on_from_its_state(build: Build) -> None:
    """A balancer with the state of another gives what the other goes on to give."""

    def steps(balancer: Balancer, number: int) -> list[Tensor]:
        given = []
        for step in range(number):
            torch.manual_seed(step)
            given.append(Problem(CONFLICT, VALUES * (1 + step)).update(balancer)[0])
            balancer.end_epoch()
        return given

    first, second = build(tasks_of(3)), build(tasks_of(3))
    steps(first, 3)
    kept = io.BytesIO()
    torch.save({"state": first.state_dict(), "parameters": [p.detach() for p in first.parameters()]}, kept)
    kept.seek(0)
    state = torch.load(kept, weights_only=True)
    second.load_state_dict(state["state"])
    with torch.no_grad():
        for parameter, value in zip(second.parameters(), state["parameters"], strict=True):
            parameter.copy_(value)
    same = all(torch.equal(one, two) for one, two in zip(steps(first, 3), steps(second, 3), strict=True))
    require(same, "state_dict: expected all that a resumed run needs, found other gradients after load_state_dict")


CHECKS = (
    gives_finite_gradients,
    accumulates,
    adds_the_aux_loss,
    takes_batches_that_lack_tasks,
    leaves_one_task_as_it_is,
    goes_on_from_its_state,
)
