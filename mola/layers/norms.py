"""BatchNorm layers that have statistics, a scale and a shift of their own for every task.

Batch statistics over all tasks pull features that differ from task to task to common values. Here each sample is
normalised as in a network of its task, while all other weights stay shared.

Source: domain-specific batch normalisation, Chang et al. 2019 (CVPR, arXiv 1906.03950).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mola.layers.frozen import is_frozen
from mola.types import BadInput, Batch

if TYPE_CHECKING:
    from mola.layers.gates import GateSlot


class TaskNorms(nn.Module):
    """The BatchNorm layers of every task, for all backbones of a method.

    layers: for each BatchNorm of the backbones, in their order: task → the task's. They are registered here and not in
            the backbones, whose parameters are therefore those that the tasks share.
    rows:   the tasks of the samples that the backbones get now.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        self.rows = TaskRows(tuple(names))

    def divide(self, backbone: nn.Module) -> nn.Module:
        """Replace every BatchNorm of a backbone by one for each task, all with its weights and statistics; returns the
        same backbone. What is frozen stays common to the tasks. Raises BadInput where there is none to replace.
        """
        modules = dict(backbone.named_modules(remove_duplicate=False))
        divided: dict[nn.Module, TaskBatchNorm] = {}
        for name, module in modules.items():
            if isinstance(module, _BatchNorm) and not is_frozen(module):
                if module not in divided:
                    divided[module] = TaskBatchNorm(module, self.rows)
                    self.layers.append(divided[module].norms)
                backbone.set_submodule(name, divided[module])
        if not divided:
            kind = type(backbone).__name__
            message = f"expected shared with a backbone that has no BatchNorm to train, as {kind}, found 'task'"
            raise BadInput(f"norm: {message}")
        return backbone

    def follow(self, method: nn.Module) -> None:
        """Take the tasks of the samples from each batch that a method is called with."""
        method.register_forward_pre_hook(self.rows.enter)
        method.register_forward_hook(self.rows.leave, always_call=True)


class TaskNormBuilder:
    """A builder of backbones whose BatchNorm layers are divided among the tasks.

    norms: the layers of all backbones that were built.
    """

    def __init__(self, backbone: Callable[[], nn.Module], names: Sequence[str]) -> None:
        self.backbone, self.norms = backbone, TaskNorms(names)

    def __call__(self) -> nn.Module:
        """A new backbone, from the same random numbers as without tasks."""
        return self.norms.divide(self.backbone())


@dataclass(frozen=True, eq=False)
class Groups:
    """The samples of a layer's input by task.

    names:   of the tasks present, in the tasks' order.
    counts:  of their samples.
    order:   (B,) int64 that sorts the input by task; None where it is sorted already.
    inverse: (B,) int64 that undoes ``order``.
    """

    names: tuple[str, ...]
    counts: tuple[int, ...]
    order: Tensor | None
    inverse: Tensor | None


class TaskRows:
    """Which tasks the samples have that a method's backbones get now; one object for all of its norm layers.

    task:    (B,) int64 on the CPU; None outside the method.
    grouped: what the layers of a pass all ask for, with the input's size, device, copies and order that it is for.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.task: Tensor | None = None
        self.grouped: tuple[tuple[int, torch.device, int], Tensor | None, Groups] | None = None

    def enter(self, method: nn.Module, args: tuple[Batch]) -> None:
        """The method's forward pre-hook: begin with the samples of a batch. Raises BadInput where they have several
        tasks each.
        """
        (batch,) = args
        task = batch.task
        if task is None and len(batch.tasks) == 1:
            task = torch.full((len(batch.x),), self.names.index(batch.tasks[0]))
        if task is None:
            raise BadInput("norm: expected shared where every image has every task, found 'task'")
        self.task, self.grouped = task.cpu(), None

    def leave(self, method: nn.Module, args: Any, output: Any) -> None:
        """The method's forward hook, which is called after an exception, too."""
        self.task, self.grouped = None, None

    @contextmanager
    def on(self, rows: Tensor | slice) -> Iterator[None]:
        """Inside, the backbones get these samples of the batch alone: a slice, or (B',) int64."""
        before = self.task
        assert before is not None
        self.task, self.grouped = before[rows if isinstance(rows, slice) else rows.cpu()], None
        try:
            yield
        finally:
            self.task, self.grouped = before, None

    def groups(self, x: Tensor, gate_slot: GateSlot | None) -> Groups:
        """The samples of a layer's input (B, …) by task. Raises BadInput where its rows are not the batch's samples.

        gate_slot: of the adapters in the same backbone, which may have sorted the batch, or repeated it.
        """
        if self.task is None:
            raise BadInput(
                "norm: a backbone with norm: task runs inside its method alone; call the method with a batch"
            )
        opened = gate_slot.opened if gate_slot else None
        order, copies = (opened.order, opened.copies) if opened else (None, 1)
        size = (len(x), x.device, copies)
        if self.grouped is None or self.grouped[0] != size or self.grouped[1] is not order:
            task = self.task
            if copies > 1 and len(x) == copies * len(task):
                task = task.repeat(copies)
            if len(x) != len(task):
                raise BadInput(
                    f"norm: task: expected BatchNorm layers with a row for each of {len(task)} samples, found {len(x)} "
                    "rows; a method that runs a backbone on some samples says which by on_rows"
                )
            self.grouped = size, order, self._groups(task if order is None else task[order.cpu()], x.device)
        return self.grouped[2]

    def _groups(self, task: Tensor, device: torch.device) -> Groups:
        counts = torch.bincount(task, minlength=len(self.names)).tolist()
        present = [number for number, count in enumerate(counts) if count]
        order = None if bool((task[1:] >= task[:-1]).all()) else task.argsort(stable=True)
        return Groups(
            tuple(self.names[number] for number in present),
            tuple(counts[number] for number in present),
            None if order is None else order.to(device),
            None if order is None else order.argsort().to(device),
        )


class TaskBatchNorm(nn.Module):
    """y_i = BatchNorm_t(i)(x_i), and behind it what timm's layer has there: dropout and activation.

    The statistics of a task are those of its samples; a task without samples in the batch keeps its own.

    norm: the layer that every task's starts from.
    rows: the tasks of the samples.
    """

    # task → its BatchNorm, see TaskNorms.layers
    norms: nn.ModuleDict
    # that of the adapters in the same backbone, set by mola.layers.adapt
    gate_slot: GateSlot | None = None

    def __init__(self, norm: _BatchNorm, rows: TaskRows) -> None:
        from timm.layers import BatchNormAct2d

        super().__init__()
        self.rows = rows
        after = [norm.drop, norm.act] if isinstance(norm, BatchNormAct2d) else []
        self.after = nn.Sequential(*(part for part in after if not isinstance(part, nn.Identity)))
        norms = {name: copy.deepcopy(norm) for name in rows.names}
        if after:
            for each in norms.values():
                each.drop, each.act = nn.Identity(), nn.Identity()
        # past torch, which would register it as a child
        object.__setattr__(self, "norms", nn.ModuleDict(norms))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, …) → the same shape. Raises BadInput in training for a task's only value per channel."""
        groups = self.rows.groups(x, self.gate_slot)
        if groups.order is not None:
            x = x[groups.order]
        split = torch.split(x, list(groups.counts))
        parts = [self._normalised(name, part) for name, part in zip(groups.names, split, strict=True)]
        y = parts[0] if len(parts) == 1 else torch.cat(parts)
        if groups.inverse is not None:
            y = y[groups.inverse]
        result: Tensor = self.after(y)
        return result

    def of(self, task: str) -> nn.Module:
        """A copy of a task's layer, with what is behind it, which takes samples of that task alone."""
        if task not in self.norms:
            raise BadInput(f"task: expected one of {', '.join(self.norms)}, found '{task}'")
        norm = copy.deepcopy(self.norms[task]).train(self.training)
        if len(self.after):
            # timm's layer runs it in the place of its activation
            norm.act = copy.deepcopy(self.after)
        return norm

    def _normalised(self, name: str, x: Tensor) -> Tensor:
        norm = self.norms[name]
        if norm.training and x.numel() == x.shape[1]:
            raise BadInput(
                f"norm: task: expected more than one value per channel of '{name}', found one sample in the batch, on "
                "a map of one pixel; raise training.batch_size, or leave norm: shared"
            )
        y: Tensor = norm(x)
        return y


def undivide(module: nn.Module, task: str) -> nn.Module:
    """Put one task's BatchNorm layers in the place of those of all tasks, in place: the module then takes samples of
    that task, without its method. Raises BadInput for a task that has none.
    """
    for name, layer in list(module.named_modules(remove_duplicate=False)):
        if isinstance(layer, TaskBatchNorm):
            module.set_submodule(name, layer.of(task))
    return module


def keep_task(module: nn.Module, name: str) -> None:
    """Where a module gets samples of one task alone: take the other tasks' BatchNorm layers out, as nothing would
    reach them. A module without BatchNorm layers of tasks stays as it is.
    """
    for layer in module.modules():
        if isinstance(layer, TaskBatchNorm):
            for other in [task for task in layer.norms if task != name]:
                del layer.norms[other]
