"""Gradients of shared parameters task by task, out of one backward pass.

Where every sample belongs to one task and no operation couples samples, task t's gradient of a weight is what its
samples alone give: the rows of the layer's input and of its output's gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

Rows = slice | Tensor
# rows, the gradient of a layer's output there, and what was kept there → a gradient for each parameter
Rule = Callable[..., Sequence[Tensor | None]]
Put = Callable[[str, int, Tensor], None]  # task, number of the parameter, its gradient
# a parameter, the name of its module, its number, the pass
StandIn = Callable[[Parameter, str, int, "Split"], Tensor]
EVERYTHING = slice(None)


class NotApplicable(Exception):
    """One backward pass can't give the gradients of every task; the message says why."""


class Split:
    """One forward pass whose backward passes give gradients task by task.

    parameters: the P tensors whose gradients are split.
    rows:       task → where its samples stand in the batch.
    size:       B.
    stand_in:   what stands for a parameter, see :class:`mola.balancers._rules.Splitting`.
    """

    def __init__(
        self, model: nn.Module, parameters: Sequence[Parameter], rows: Mapping[str, Rows], size: int, stand_in: StandIn
    ) -> None:
        self.parameters, self.rows, self.size = parameters, rows, size
        self.anchor = torch.zeros((), requires_grad=True, device=parameters[0].device)
        number = {id(p): i for i, p in enumerate(parameters)}
        self.places = [
            (module._parameters, key, p, stand_in(p, name, number[id(p)], self))
            for name, module in model.named_modules()
            for key, p in module._parameters.items()
            if id(p) in number
        ]
        self.used = set[int]()
        self.groups: Mapping[str, Rows] = {}
        self.put: Put = _nowhere
        self.is_last = False

    @contextmanager
    def open(self) -> Iterator[None]:
        """Inside, the model computes with tensors that stand for its parameters. Open it around backward passes, too:
        activation checkpointing computes there.
        """
        for parameters, key, _, splitting in self.places:
            parameters[key] = splitting
        try:
            yield
        finally:
            for parameters, key, parameter, _ in self.places:
                parameters[key] = parameter

    def backward(self, losses: Mapping[str, Tensor], put: Put, *, retain_graph: bool = False) -> None:
        """One pass of the sum of the losses () by task: ``put`` gets each task's gradients of the parameters that the
        losses reach; all other leaves accumulate theirs.
        """
        groups = {name: self.rows[name] for name in losses}
        self._run(torch.stack([*losses.values()]).sum(), groups, put, retain_graph)

    def backward_whole(self, loss: Tensor, put: Put) -> None:
        """One pass of a loss of no task, whose gradients stay whole. The graph is kept."""
        self._run(loss, {"": EVERYTHING}, put, True)

    def _run(self, loss: Tensor, groups: Mapping[str, Rows], put: Put, retain_graph: bool) -> None:
        self.groups, self.put, self.is_last = groups, put, not retain_graph
        try:
            with self.open():
                torch.autograd.backward(loss, retain_graph=retain_graph)
        finally:
            self.groups, self.put = {}, _nowhere

    def watch(self, y: Tensor, numbers: Sequence[int], rule: Rule, *kept: Tensor) -> Tensor:
        """A layer's output (B·k, …), whose gradient will give those of parameters, by the rule.

        numbers: of the parameters. kept: (B·k, …) each, what the rule needs. Raises NotApplicable where rows are no
        samples, and for a parameter that was used before.
        """
        if not torch.is_grad_enabled():
            return y
        for tensor in (y, *kept):
            if not tensor.dim() or not len(tensor) or len(tensor) % self.size:
                shape = tuple(tensor.shape)
                raise NotApplicable(f"a layer computes with {shape}, which has no row for each of {self.size} samples")
        # what activation checkpointing recomputes was counted before
        if torch._C._current_graph_task_id() == -1:  # type: ignore[attr-defined]
            if self.used.intersection(numbers):
                raise NotApplicable("a layer runs several times in a pass, or two layers share a parameter")
            self.used.update(numbers)
        if not y.requires_grad:
            y = Anchored.apply(y, self.anchor)
        # an autograd function keeps them, as activation checkpointing takes away what these keep, and nothing else
        waiting = [Kept.apply(self.anchor, *(tensor.detach() for tensor in kept)).grad_fn]

        def arrived(grad: Tensor) -> None:
            tensors = (grad, *waiting[-1].saved_tensors)
            if self.is_last:
                waiting.clear()
            for name, rows in self.groups.items():
                gradients = rule(rows, *(self.part(tensor, rows) for tensor in tensors))
                for number, gradient in zip(numbers, gradients, strict=True):
                    if gradient is not None:
                        self.put(name, number, gradient)

        y.register_hook(arrived)  # type: ignore[no-untyped-call]
        return y

    def part(self, tensor: Tensor, rows: Rows) -> Tensor:
        """The rows (B_t·k, …) of a task's samples: a view where they follow each other."""
        each = len(tensor) // self.size
        if isinstance(rows, slice):
            return tensor if rows == EVERYTHING else tensor[rows.start * each : rows.stop * each]
        rows = rows.to(tensor.device)
        return tensor[rows if each == 1 else (rows[:, None] * each + torch.arange(each, device=rows.device)).flatten()]


class Anchored(torch.autograd.Function):
    """A tensor without gradient, in place, as the result of a computation that has one."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, anchor: Tensor) -> Tensor:
        ctx.mark_dirty(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None]:
        return None, None


class Kept(torch.autograd.Function):
    """Holds tensors for a backward pass, of which it is no part."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, *tensors: Tensor) -> Tensor:
        ctx.save_for_backward(*tensors)
        return anchor.new_zeros(())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, ...]:
        raise NotImplementedError


def _nowhere(name: str, number: int, gradient: Tensor) -> None:
    """Gradients of a backward pass that nobody splits."""
