"""Whether one backward pass gives the gradients of every task: by what the model is made of, and by trying."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.modules.batchnorm import _BatchNorm

from mola.balancers._base import Computed, R
from mola.balancers._rows import NotApplicable, Split
from mola.balancers._rules import Splitting
from mola.layers.gates import GateSlot
from mola.layers.norms import TaskNorms
from mola.types import Batch, one_line

log = logging.getLogger(__name__)
ONE = "one for all tasks"


class OnePass:
    """Runs the forward passes of a model so that one backward pass is enough, where that is right.

    It is tried against a pass for each task at steps 1, 100, 10000, …: once is not enough, as a branch that starts at
    zero has no gradient. Such a step costs T more backward passes and one more forward pass, and has the same result.

    shared: the parameters whose gradients are wanted task by task.
    split:  of the last forward pass; None where its gradients need a pass for each task.
    used:   in words, what the last pass of two tasks or more needed; None before.
    """

    def __init__(self, model: nn.Module, shared: Sequence[Parameter]) -> None:
        self.model, self.shared = model, shared
        self.split: Split | None = None
        self.used: str | None = None
        self.steps, self.refused = 0, ""

    def forward(self, compute: Callable[[], Computed[R]], batch: Batch) -> Computed[R]:
        """What ``compute`` returns, which runs the model on a batch and takes the losses of tasks."""
        self.split = None
        if len(batch.y) < 2:
            return compute()
        if why := self.refused or coupling(self.model, self.shared, batch):
            return self._in_many(compute, why)
        rows = {name: batch.rows(name) for name in batch.y}
        split = Split(self.model, self.shared, rows, len(batch.x), Splitting.of)
        self.steps += 1
        before = State(self.model, batch.x.device) if is_power_of_hundred(self.steps) else None
        try:
            computed = self._compute(compute, split) if before is None else self._try(compute, split, before)
        except NotApplicable as error:
            self.refused = str(error)
            if before is not None:
                before.restore()
                if self.steps > 1:
                    log.warning("the gradients of the steps since the last trial may have been wrong: %s", error)
            return self._in_many(compute, self.refused)
        self.split = split
        self._say(ONE)
        return computed

    def state_dict(self) -> dict[str, object]:
        """What a checkpoint keeps: when the next trial is due, and what was found out."""
        return {"steps": self.steps, "refused": self.refused, "used": self.used}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.steps, self.refused, self.used = state["steps"], state["refused"], state["used"]

    def _compute(self, compute: Callable[[], Computed[R]], split: Split) -> Computed[R]:
        with split.open():
            return compute()

    def _try(self, compute: Callable[[], Computed[R]], split: Split, before: State) -> Computed[R]:
        """The same, compared with a backward pass for each task. Raises NotApplicable where gradients differ."""
        # of what the model gave nothing else is kept: its graph is freed before the second pass
        losses = compute()[1]
        expected = {
            name: torch.autograd.grad(loss, self.shared, retain_graph=True, allow_unused=True)
            for name, loss in losses.items()
        }
        del losses
        before.restore()
        learning = [p for p in self.model.parameters() if p.requires_grad]
        gradients = [p.grad for p in learning]
        for p in learning:
            p.grad = None
        try:
            computed = self._compute(compute, split)
            comparison = Comparison(expected)
            split.backward(computed[1], comparison.put, retain_graph=True)
            if not comparison.equal():
                raise NotApplicable("an operation couples samples of different tasks, or hides a parameter")
        except NotApplicable:
            raise
        except Exception as error:
            # whatever a model does with its parameters, it trains as before
            raise NotApplicable(f"{type(error).__name__}: {one_line(error, 120)}") from None
        finally:
            for p, gradient in zip(learning, gradients, strict=True):
                p.grad = gradient
        return computed

    def _in_many(self, compute: Callable[[], Computed[R]], why: str) -> Computed[R]:
        self._say(f"one for each task: {why}")
        return compute()

    def _say(self, used: str) -> None:
        if used != self.used:
            self.used = used
            log.info("backward passes for the gradients of the shared parameters: %s", used)


def coupling(model: nn.Module, shared: Sequence[Parameter], batch: Batch) -> str:
    """Why a model needs a pass for each task, as far as its modules tell; empty where nothing speaks against one."""
    if batch.task is None:
        return "every image has every task"
    of_tasks = {layer for norms in model.modules() if isinstance(norms, TaskNorms) for layer in norms.modules()}
    missing = {id(p) for p in shared}
    for name, module in model.named_modules():
        missing -= {id(p) for p in module._parameters.values()}
        if isinstance(module, _BatchNorm) and module.training and module not in of_tasks:
            return f"{name} takes statistics over samples of all tasks"
        if module._compiled_call_impl is not None or isinstance(module, torch._dynamo.eval_frame.OptimizedModule):
            return "the model is compiled"
        if type(module).__module__.startswith(("torch.nn.parallel.", "torch.distributed.")):
            return f"the model is in a {type(module).__name__}"
    return "a shared parameter belongs to no module" if missing else ""


class Comparison:
    """Gradients that arrive one by one, compared with what a pass for each task gave.

    expected: task → a gradient for each parameter; None where the loss does not reach it.
    """

    def __init__(self, expected: Mapping[str, Sequence[Tensor | None]]) -> None:
        self.waiting = {(name, i): g for name, gs in expected.items() for i, g in enumerate(gs) if g is not None}
        sizes: dict[str, list[Tensor]] = {name: [] for name in expected}
        for (name, _), gradient in self.waiting.items():
            sizes[name].append(gradient.norm())
        # what a parameter's gradient may be off where it is zero but for rounding
        self.typical = {name: torch.stack(norms).square().mean().sqrt() for name, norms in sizes.items() if norms}
        self.verdicts: list[Tensor] = []

    def put(self, name: str, number: int, gradient: Tensor) -> None:
        """A task's gradient of a parameter, of any shape."""
        expected = self.waiting.pop((name, number), None)
        if expected is None:
            self.verdicts.append(~gradient.any())
            return
        tolerance = torch.finfo(gradient.dtype).eps ** 0.6
        error = (gradient.reshape(expected.shape).to(expected.dtype) - expected).norm()
        self.verdicts.append(error <= tolerance * (expected.norm() + self.typical[name]))

    def equal(self) -> bool:
        """Whether all were there, and equal but for rounding."""
        missing = [~gradient.any() for gradient in self.waiting.values()]
        return all(bool(verdict) for verdict in [*self.verdicts, *missing])


class State:
    """What a forward pass changes: random generators, and buffers such as running statistics."""

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.device = device
        self.slots = {slot for module in model.modules() if isinstance(slot := getattr(module, "slot", None), GateSlot)}
        self.buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
        self.random = torch.get_rng_state()
        self.of_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    @torch.no_grad()
    def restore(self) -> None:
        """Undo a forward pass."""
        for slot in self.slots:
            # no checkpoint waits for its gate any more
            slot.backward.add()
        for buffer, before in self.buffers:
            # not those that the graph of the pass may hold
            if not torch.equal(buffer, before):
                buffer.copy_(before)
        torch.set_rng_state(self.random)
        if self.of_gpu is not None:
            torch.cuda.set_rng_state(self.of_gpu, self.device)


def is_power_of_hundred(number: int) -> bool:
    """1, 100, 10000, …"""
    digits = f"{number}"
    return digits.strip("0") == "1" and len(digits) % 2 == 1
