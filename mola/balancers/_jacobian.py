"""Balancers that combine the gradients of the tasks on the shared parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from mola.balancers._base import Base, Computed, Cost, R, accumulate, total_of
from mola.balancers._one_pass import OnePass
from mola.balancers._rows import Split
from mola.types import Batch

COLUMNS = 1 << 14  # of the Jacobian, in one product


class Jacobian(Base, ABC):
    """The rows of G (T, P) are the tasks' gradients of the shared parameters, which get ``combine(G)``; every task's
    own parameters get the plain gradient of their own loss, and the aux_loss's gradient is added to both. Activations
    are held once, never T times.

    After a forward pass through :meth:`forward` one backward pass fills G, where no operation couples samples of
    different tasks; else there is one for each task, one after the other. Under vmap these take longer on a CPU than
    one by one, and hold T gradients of every activation.
    """

    cost: ClassVar[Cost] = "jacobian"
    needs_shared = True
    _kept: Tensor | None = None
    _one_pass: OnePass | None = None
    # of a checkpoint, until there is a model
    _resumed: Mapping[str, Any] | None = None

    @abstractmethod
    def combine(self, matrix: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """G (T, P), a row per loss () present → (P,), not a view of G."""

    def forward(
        self, compute: Callable[[], Computed[R]], model: nn.Module, shared: list[Parameter], batch: Batch
    ) -> Computed[R]:
        """Run the forward pass so that one backward pass is enough, where that is right."""
        shared = trainable(shared)
        if self.cost != "jacobian" or len(self.names) < 2 or not shared:
            return compute()
        if self._one_pass is None:
            self._one_pass = OnePass(model, shared)
            if self._resumed is not None:
                self._one_pass.load_state_dict(self._resumed)
        return self._one_pass.forward(compute, batch)

    @property
    def passes(self) -> str | None:
        """As in :attr:`Base.passes`."""
        return self._one_pass.used if self._one_pass else None

    def state_dict(self) -> dict[str, object]:
        """What is known of one backward pass; subclasses add what they keep."""
        state = self._one_pass.state_dict() if self._one_pass else self._resumed
        return {} if state is None else {"one_pass": state}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore what :meth:`state_dict` gave."""
        if "one_pass" in state:
            self._resumed = cast("Mapping[str, Any]", state["one_pass"])
            if self._one_pass:
                self._one_pass.load_state_dict(self._resumed)

    def backward(
        self,
        losses: Mapping[str, Tensor],
        aux_loss: Tensor | None,
        shared: list[Parameter],
        rest: list[Parameter],
        features: Tensor | None = None,
    ) -> None:
        """One backward pass or T, and one more for an auxiliary loss. With one task, or nothing shared: plain
        training.
        """
        shared, rest = trainable(shared), trainable(rest)
        if self.alone(losses) or not shared:
            torch.autograd.backward(total_of(losses.values(), aux_loss))
            return
        split = None
        if self._one_pass:
            # of this step alone
            split, self._one_pass.split = self._one_pass.split, None
        if aux_loss is not None:
            # first, so that the last pass frees the graph
            if split:
                split.backward_whole(aux_loss, lambda _, i, gradient: _add(shared[i], gradient))
            else:
                torch.autograd.backward(aux_loss, retain_graph=True)
        matrix, reached = self._split_rows(split, losses, shared) if split else self._rows(losses, shared, rest)
        parts = torch.split(self.combine(matrix, losses), [p.numel() for p in shared])
        for parameter, part, is_reached in zip(shared, parts, reached, strict=True):
            if is_reached:
                accumulate(parameter, part.view_as(parameter))

    def _rows(
        self, losses: Mapping[str, Tensor], shared: list[Parameter], rest: list[Parameter]
    ) -> tuple[Tensor, list[bool]]:
        """G (T, P), and which shared parameters any loss reaches: the others keep no gradient, as under the sum.

        A gradient is moved into its row as soon as it is there: its memory serves the next one, where the pages of all
        of them together took a CPU 5 % of the step, and half of its peak memory.
        """
        sizes = [p.numel() for p in shared]
        matrix, rows = self._matrix(list(losses), sum(sizes), shared[0])
        reached = [False] * len(shared)
        before = [p.grad for p in shared]
        # of the pass that runs: its task, and where gradients go
        name, waiting = "", dict[int, Tensor]()

        def move(i: int, parameter: Tensor) -> None:
            assert parameter.grad is not None
            self._put(name, waiting.pop(i), parameter.grad.reshape(-1))
            parameter.grad = None
            reached[i] = True

        hooks = [
            p.register_post_accumulate_grad_hook(partial(move, i))  # type: ignore[no-untyped-call]
            for i, p in enumerate(shared)
        ]
        try:
            for p in shared:
                p.grad = None
            for t, (name, row) in enumerate(zip(losses, rows, strict=True), start=1):
                waiting = dict(enumerate(torch.split(row, sizes)))
                torch.autograd.backward(losses[name], retain_graph=t < len(losses), inputs=[*shared, *rest])
                for place in waiting.values():
                    self._put(name, place, None)
        finally:
            for hook in hooks:
                hook.remove()
            for p, gradient in zip(shared, before, strict=True):
                p.grad = gradient
        return matrix, reached

    def _split_rows(
        self, split: Split, losses: Mapping[str, Tensor], shared: list[Parameter]
    ) -> tuple[Tensor, list[bool]]:
        """As :meth:`_rows`, by one pass."""
        sizes = [p.numel() for p in shared]
        matrix, rows = self._matrix(list(losses), sum(sizes), shared[0])
        waiting = {
            (name, i): place
            for name, row in zip(losses, rows, strict=True)
            for i, place in enumerate(torch.split(row, sizes))
        }
        reached = [False] * len(shared)

        def put(name: str, i: int, gradient: Tensor) -> None:
            if (place := waiting.pop((name, i), None)) is not None:
                self._put(name, place, gradient.reshape(-1))
                reached[i] = True

        split.backward(losses, put)
        for (name, _), place in waiting.items():
            self._put(name, place, None)
        return matrix, reached

    def _matrix(self, names: Sequence[str], columns: int, like: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """G (T, P), and for each loss its row. Kept for the next step: new pages for it cost a tenth of a step on a
        CPU.
        """
        kept = self._kept
        if kept is None or kept.shape[1] != columns or len(kept) < len(names) or kept.device != like.device:
            self._kept = kept = like.new_empty((len(names), columns))
        matrix = kept[: len(names)]
        return matrix, list(matrix)

    def _put(self, name: str, place: Tensor, gradient: Tensor | None) -> None:
        """A task's gradient of one parameter (n,) into its part of the row; None where the loss does not reach it."""
        if gradient is None:
            place.zero_()
        else:
            place.copy_(gradient)


class GramianWeighting(Jacobian):
    """d = Gᵀ α, where α depends on the inner products G Gᵀ of the tasks' gradients alone."""

    @abstractmethod
    def weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """G Gᵀ (T, T) on the CPU, scaled to trace 1, a row per loss () → α (T,). No row is zero."""

    def combine(self, matrix: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """Gᵀ α."""
        return self.alpha(matrix, losses).to(matrix) @ matrix

    def alpha(self, matrix: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """G (T, P) → α (T,), on the CPU.

        A task whose gradient is exactly zero is left out: MGDA and CAGrad would stand still for it.
        Raises ArithmeticError where a gradient is not finite.
        """
        # the one wait for the GPU
        gramian = gramian_of(matrix).cpu()
        if not gramian.isfinite().all():
            raise ArithmeticError("a gradient of the shared parameters is not finite")
        trace, active = gramian.trace(), gramian.diagonal() > 0
        alpha = gramian.new_zeros(len(gramian))
        if active.any():
            gramian = gramian[active][:, active] / trace
            kept = {name: loss for (name, loss), keep in zip(losses.items(), active.tolist(), strict=True) if keep}
            alpha[active] = self.scale(float(trace)) * self.weights(gramian, kept).to(alpha)
        return alpha

    def scale(self, trace: float) -> float:
        """What α is multiplied by, where it depends on the size of the gradients: ``trace`` is Σ_t ‖g_t‖²."""
        return 1.0


def gramian_of(matrix: Tensor) -> Tensor:
    """G (T, P) → G Gᵀ (T, T), part by part: in one fp32 product over 11 million columns the sums lost three digits of
    seven, and a CPU took twice as long.
    """
    rows, columns = matrix.shape
    whole = columns - columns % COLUMNS
    parts = matrix[:, :whole].view(rows, -1, COLUMNS).transpose(0, 1)  # (P / COLUMNS, T, COLUMNS)
    rest = matrix[:, whole:]
    return torch.bmm(parts, parts.transpose(1, 2)).sum(0) + rest @ rest.T


def _add(parameter: Parameter, gradient: Tensor) -> None:
    accumulate(parameter, gradient.reshape(parameter.shape).to(parameter.dtype))


def trainable(parameters: list[Parameter]) -> list[Parameter]:
    """Those that are not frozen."""
    return [p for p in parameters if p.requires_grad]
