"""Balancers without the harness: ``backward`` asks for what it can't find out by itself, and checks what it gets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from mola import registry
from mola.balancers._base import Base
from mola.balancers._graph import leaves
from mola.metrics.kinds import KINDS
from mola.types import BadInput, Batch, Kind, Task, one_line


def names() -> tuple[str, ...]:
    """The names of all balancers, sorted."""
    return registry.names("balancers")


def create(
    name: str,
    tasks: Sequence[str] | Mapping[str, Kind],
    device: torch.device | str | None = None,
    **options: object,
) -> Standalone:
    """A balancer for a training loop of one's own.

    tasks:   the names of all tasks; a batch may lack some. Or name → kind (``classes``, ``regression``, …), which
             ``uw`` alone looks at: it halves the losses of measurements.
    device:  where the losses will be; the CPU by default.
    options: of the balancer, as in a suite; ``mola list`` shows them.

    Raises BadInput for an unknown name, a wrong option, and tasks without or with equal names.
    """
    place = f"balancer {name}"
    checked = registry.check_options("balancers", name, options, place)
    where = torch.device(device) if device is not None else None
    return Standalone(name, registry.create("balancers", name, _tasks(tasks, place), where, options=checked))


def _tasks(tasks: Sequence[str] | Mapping[str, Kind], place: str) -> list[Task]:
    """Names → tasks, of classes unless their kind is given."""
    names = [tasks] if isinstance(tasks, str) else list(tasks)
    if not names or len(set(names)) < len(names):
        raise BadInput(f"{place}: expected names of tasks that differ, found {', '.join(names) or 'none'}")
    kinds: Mapping[str, Kind] = tasks if isinstance(tasks, Mapping) else {}
    for name, kind in kinds.items():
        if kind not in KINDS:
            raise BadInput(f"{place}: expected for {name} a kind of {', '.join(KINDS)}, found {one_line(kind, 40)}")
    return [Task(name, kinds.get(name, "classes"), 1, ()) for name in names]


class Standalone:
    """A balancer of the harness, ``inner``, in a training loop of one's own. ``tasks``: the names that it knows."""

    def __init__(self, name: str, inner: Base) -> None:
        self.name, self.inner, self.tasks = name, inner, inner.names

    def backward(
        self,
        losses: Mapping[str, Tensor],
        *,
        shared: Iterable[Parameter] | None = None,
        rest: Iterable[Parameter] | None = None,
        aux_loss: Tensor | None = None,
        features: Tensor | None = None,
    ) -> None:
        """Accumulate gradients, as ``loss.backward()`` does: call ``optimizer.zero_grad()`` before.

        losses:   () each, by task name; those of tasks that the batch lacks are left out.
        shared:   the parameters that all tasks reach, where gradients are combined. ``needs_shared`` says whether the
                  balancer asks for them.
        rest:     all other parameters that get gradients; without it they are looked for in the graph of the losses.
        aux_loss: () a loss of no task, added as it is.
        features: (B, …) where the tasks part, for balancers with ``_ub``; all that the losses say to the shared
                  parameters goes through it.

        Raises BadInput for losses of unknown tasks, without a graph, or of another shape, and for no shared parameters
        where they are needed; ArithmeticError where a gradient is not finite.
        """
        self._check(losses)
        common = None if shared is None else list(shared)
        if self.needs_shared and not common:
            raise BadInput(f"balancer {self.name}: expected shared=…, the parameters that all losses reach, found none")
        common = common or []
        if rest is None and self.inner.cost != "weighting":
            known = {id(p) for p in common}
            ends = [*losses.values(), *([] if aux_loss is None else [aux_loss])]
            rest = [leaf for leaf in leaves(ends) if id(leaf) not in known]  # type: ignore[misc]
        self.inner.backward(losses, aux_loss, common, list(rest or ()), features)

    def losses(
        self,
        compute: Callable[[], Mapping[str, Tensor]],
        *,
        model: nn.Module,
        shared: Iterable[Parameter],
        task: Tensor,
    ) -> Mapping[str, Tensor]:
        """The losses that ``compute`` returns, measured so that ``backward`` after it needs one backward pass instead
        of one for each task, where that is right (``passes`` says so).

        compute: runs the model and returns losses, () each, by task name. It runs again where the one pass is tried,
                 with the same random numbers and buffers, so it must not draw the batch itself.
        model:   the module that holds the shared parameters; always the same.
        shared:  as for ``backward``.
        task:    (B,) int64, the position of each sample's task in ``tasks``; B samples go through the model, in this
                 order.
        """
        if self.inner.cost != "jacobian":
            return compute()
        common = list(shared)
        present = {self.tasks[position]: task for position in sorted(set(task.tolist()))}
        # of the images a balancer asks for number and device alone
        images = torch.empty(len(task), device=next((p.device for p in common), None))
        batch = Batch(images, task.cpu(), present, self.tasks)
        before: dict[Tensor, Tensor | None] = {}

        def computed() -> tuple[None, Mapping[str, Tensor]]:
            losses = compute()
            for leaf in leaves(list(losses.values())):
                # a trial runs backward: what it adds, to heads outside the model too, is none of the step's
                before.setdefault(leaf, leaf.grad)
                leaf.grad = None
            return None, losses

        losses = self.inner.forward(computed, model, common, batch)[1]
        for leaf, gradient in before.items():
            leaf.grad = gradient
        return losses

    @property
    def passes(self) -> str | None:
        """In words, how many backward passes the last step's gradients took; None where the balancer needs none."""
        return self.inner.passes

    @property
    def needs_shared(self) -> bool:
        """Whether ``backward`` asks for the shared parameters; one task alone has nothing to combine."""
        return self.inner.needs_shared and len(self.tasks) > 1

    def parameters(self) -> list[Parameter]:
        """What the balancer learns itself: give it to the optimiser, with the model's."""
        return self.inner.parameters()

    def end_epoch(self) -> None:
        """Call it after every epoch; ``dwa`` compares epochs, others ignore it."""
        self.inner.end_epoch()

    def state_dict(self) -> dict[str, object]:
        """Everything that a resumed training needs, but for torch's random generators."""
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.inner.load_state_dict(state)

    def __repr__(self) -> str:
        return f"<balancer {self.name} of {', '.join(self.tasks)}>"

    def _check(self, losses: Mapping[str, Tensor]) -> None:
        place = f"balancer {self.name}"
        if not losses:
            raise BadInput(f"{place}: expected the loss of a task at least, found none")
        for task, loss in losses.items():
            if task not in self.tasks:
                known = f"{', '.join(self.tasks)}, found '{one_line(task, 40)}'"
                raise BadInput(f"{place}: expected losses of {known}{registry.did_you_mean(task, self.tasks)}")
            if loss.dim():
                raise BadInput(f"{place}: expected a loss () for {task}, found shape {tuple(loss.shape)}")
            if not loss.requires_grad:
                raise BadInput(f"{place}: expected a loss with a graph for {task}, found one that nothing learns from")
