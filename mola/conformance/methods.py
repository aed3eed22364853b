"""What every method has to do with the tasks of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from mola import registry
from mola.balancers.sum import Sum
from mola.conformance.fault import require
from mola.guards import wrong_with
from mola.losses import task_losses
from mola.methods import Method
from mola.types import Batch, PerTask, Range, Task

# within which a method that draws has drawn everything
PASSES = 20
# steps after which a method that lets parameters learn late is looked at again
LATER = (10, 100, 1_000, 10_000, 100_000)


@dataclass(frozen=True)
class Subject:
    """A method under test.

    build: seed → the method, with the same weights at each call.
    batch: samples of all tasks.
    freezes: whether the suite freezes stages of the backbone, so that what all tasks reach has frozen parameters.
    """

    build: Callable[[int], Method]
    tasks: Sequence[Task]
    batch: Batch
    freezes: bool = False

    @cached_property
    def method(self) -> Method:
        """The method of seed 0, in training, with nothing at zero: B = 0 hides the gradient of A."""
        return live(self.build(0)).train()

    @cached_property
    def evaluated(self) -> Method:
        """The same in evaluation."""
        return live(self.build(0)).eval()


def close(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal but for the order in which sums are taken."""
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-3, atol=1e-3)


def live(method: Method) -> Method:
    """Draw parameters that are all zero: they hide the gradients of others."""
    for parameter in method.parameters():
        if (parameter == 0).all():
            nn.init.normal_(parameter, std=0.1)
    return method


def alone(batch: Batch, name: str) -> Batch:
    """The samples of one task, as a batch that lacks the others."""
    if batch.task is None:
        return replace(batch, y={name: batch.y[name]})
    kept = batch.rows(name)
    pixels = None if batch.pixels is None else batch.pixels[kept]
    return Batch(batch.x[kept], batch.task[kept], {name: batch.y[name]}, batch.tasks, pixels)


def shuffled(batch: Batch) -> tuple[Batch, Mapping[str, Tensor | slice]]:
    """The samples in another order, which mixes the tasks, and for each task the places of its targets in the first."""
    if batch.task is None:
        order = torch.arange(len(batch.x)).flip(0)
        return replace(batch, x=batch.x[order], y={name: y[order] for name, y in batch.y.items()}), dict.fromkeys(
            batch.y, order
        )
    order = torch.randperm(len(batch.x), generator=torch.Generator().manual_seed(0))
    task = batch.task[order]
    places = {}
    for name in batch.y:
        rows = torch.arange(len(batch.x))[batch.rows(name)]
        # where the samples of the task were among the task's own
        position = {int(row): place for place, row in enumerate(rows)}
        places[name] = torch.tensor([position[int(i)] for i in order if int(i) in position])
    y = {name: target[places[name]] for name, target in batch.y.items()}
    pixels = None if batch.pixels is None else batch.pixels[order]
    return Batch(batch.x[order], task, y, batch.tasks, pixels), places


def predicts_every_task_present(subject: Subject) -> None:
    """Predictions of the right shape for each task of a batch, and for no other, whatever the order of its samples."""
    for batch in (subject.batch, shuffled(subject.batch)[0], *(alone(subject.batch, name) for name in subject.batch.y)):
        output = subject.method(batch)
        problem = wrong_with(output, batch, subject.tasks)
        require(problem is None, f"forward: {problem}")
        extra = sorted({*output.predictions} - {*batch.y})
        require(not extra, f"forward: expected predictions for tasks of the batch alone, found some for {extra}")
        for name, predictions in output.predictions.items():
            require(predictions.isfinite().all(), f"forward: expected finite predictions, found others for '{name}'")
    if (routing := subject.method(subject.batch).routing) is not None:
        whole = close(routing.sum(1), torch.ones(len(routing), device=routing.device))
        require(whole, "forward: expected routing weights that sum to 1 for each sample")


def other_samples_change_nothing(subject: Subject) -> None:
    """In evaluation a prediction depends neither on the order of the batch nor on the tasks around it."""
    method, batch = subject.evaluated, subject.batch
    with torch.no_grad():
        expected = method(batch).predictions
        other, places = shuffled(batch)
        mixed = method(other).predictions
        for name in batch.y:
            same = close(mixed[name], expected[name][places[name]])
            require(same, f"forward: predictions for '{name}' depend on the order of the batch, in evaluation")
            lone = method(alone(batch, name)).predictions[name]
            same = close(lone, expected[name])
            require(same, f"forward: predictions for '{name}' depend on the other tasks of the batch, in evaluation")


def parameters_belong_to_one_side(subject: Subject) -> None:
    """A parameter is shared or the method's own; what is shared learns; frozen ones are no task's."""
    method = subject.method
    shared, rest = method.shared_parameters(), method.own_parameters()
    require(
        {id(p) for p in shared}.isdisjoint({id(p) for p in rest}),
        "shared_parameters: expected none of own_parameters, found some in both",
    )
    every = {id(p) for p in method.parameters()}
    require(
        {id(p) for p in shared} | {id(p) for p in rest} == every,
        "shared_parameters: expected all parameters there or in own_parameters, and no others",
    )
    require(
        subject.freezes or all(p.requires_grad for p in shared),
        "shared_parameters: expected parameters that learn, found frozen ones",
    )


def silent_parameters(subject: Subject) -> set[str]:
    """The names of the parameters that learn and that no loss reaches in training, neither in the first steps nor in
    later ones: a method counts its steps in integer buffers, as a resumed run needs them, and these are set forward.
    """
    method = subject.method
    state = {key: value.clone() for key, value in method.named_buffers()}
    silent = _without_gradient(subject, {key for key, p in method.named_parameters() if p.requires_grad})
    # without a counter later steps are as the first ones
    for steps in LATER if silent and _counters(method) else ():
        for counter in _counters(method):
            counter += steps
        if not (silent := _without_gradient(subject, silent)):
            break
    with torch.no_grad():
        for key, value in method.named_buffers():
            value.copy_(state[key])
    return silent


def _counters(method: Method) -> list[Tensor]:
    """The buffers () of integers, but for those of BatchNorm, which change nothing."""
    return [
        value
        for key, value in method.named_buffers()
        if value.dim() == 0 and value.dtype == torch.int64 and not key.endswith("num_batches_tracked")
    ]


def _without_gradient(subject: Subject, names: set[str]) -> set[str]:
    """Those of some parameters, by name, that no loss reaches within some passes."""
    method, batch = subject.method, subject.batch
    rest, shared = method.own_parameters(), method.shared_parameters()
    silent = {key: p for key, p in method.named_parameters() if key in names}
    for _ in range(PASSES):
        output = method(batch)
        losses = task_losses(subject.tasks, output, batch)
        for name, loss in losses.items():
            require(loss.isfinite(), f"forward: expected a finite loss, found {float(loss.detach())} for '{name}'")
        Sum.create().backward(losses, output.aux_loss, shared, rest)
        silent = {key: p for key, p in silent.items() if p.grad is None or not p.grad.abs().sum() > 0}
        if not silent:
            break
    method.zero_grad(set_to_none=True)
    return set(silent)


def gradients_reach_every_parameter(subject: Subject) -> None:
    """Every parameter that is not frozen learns from some loss."""
    silent = sorted(silent_parameters(subject))
    require(not silent, f"parameters: expected gradients for all, found none for {', '.join(silent[:5])}")


def same_seed_same_method(subject: Subject) -> None:
    """One seed gives the same weights, and the state of one method makes another the same: a run goes on so."""
    one, two, other = subject.build(0), subject.build(0), subject.build(1)
    differing = [key for key, value in one.state_dict().items() if not torch.equal(value, two.state_dict()[key])]
    require(not differing, f"__init__: expected the same weights from the same seed, found others in {differing[:3]}")
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        expected, actual = (method.eval()(subject.batch).predictions for method in (one, other))
    for name, predictions in expected.items():
        require(
            close(actual[name], predictions),
            f"state_dict: expected the same predictions after load_state_dict, found others for '{name}'; "
            "what a prediction depends on is a parameter or a buffer",
        )


def parts_cover_all_tasks_once(subject: Subject) -> None:
    """Each task's epoch is selected by one part, and each parameter belongs to one."""
    method = subject.method
    covered = sorted(name for _, names in method.parts().values() for name in names)
    require(covered == sorted(t.name for t in subject.tasks), f"parts: expected every task once, found {covered}")
    in_parts = {id(p) for module, _ in method.parts().values() for p in module.parameters()}
    require(in_parts == {id(p) for p in method.parameters()}, "parts: expected all parameters in some part")


CHECKS = (
    predicts_every_task_present,
    other_samples_change_nothing,
    parameters_belong_to_one_side,
    same_seed_same_method,
    parts_cover_all_tasks_once,
)


def options_are_as_declared(kind: registry.Kind, name: str) -> None:
    """Options have defaults and descriptions, and read from the source they are what Python has."""
    declared, actual = registry.options_of(kind, name), registry.load(kind, name).Options
    schemas = [options.model_json_schema() for options in (declared, actual)]
    require(schemas[0] == schemas[1], "Options: expected the same read from the source as Python has, found others")
    for key, field in actual.model_fields.items():
        require(not field.is_required(), f"Options.{key}: expected a default, found none")
        require(field.description, f"Options.{key}: expected a description, Field(…, description=…), found none")


def search_space_is_accepted(kind: registry.Kind, name: str, tasks: Sequence[Task] = ()) -> None:
    """What tuning may try are options with values that they accept."""
    known = registry.option_names(kind, name)
    for key, space in registry.load(kind, name).search_space.items():
        require(key in known, f"search_space.{key}: expected one of the options {', '.join(known)}")
        if isinstance(space, PerTask):
            bounds = (space.range.low, space.range.high)
            ends: list[object] = [dict.fromkeys([task.name for task in tasks], end) for end in bounds]
        else:
            ends = [space.low, space.high] if isinstance(space, Range) else list(space)
        for value in ends:
            registry.check_options(kind, name, {key: value}, "search_space")
