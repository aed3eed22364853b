"""BatchNorm where a channel has one value: a single sample on a map of one pixel, which has no variance.

Torch refuses it, in the middle of an epoch. Here the layer takes its running statistics for that one pass, and leaves
them as they are. A layer that gets more values is not touched.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mola.layers.norms import TaskBatchNorm
from mola.sections import Training


def may_occur(training: Training, tasks: int) -> bool:
    """Whether a batch may hold a single sample of a task."""
    return training.sampling == "proportional" or training.batch_size < 2 * tasks


def guard(method: nn.Module) -> None:
    """Let the BatchNorm layers of a method take single values."""
    for module in method.modules():
        if isinstance(module, TaskBatchNorm):
            module.register_forward_pre_hook(_enter_of_tasks)
            module.register_forward_hook(_leave, always_call=True)
        elif isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(_enter)
            module.register_forward_hook(_leave, always_call=True)


def _enter(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    if layer.training and inputs[0].numel() == inputs[0].shape[1]:
        _rest(layer, [layer])


def _enter_of_tasks(layer: TaskBatchNorm, inputs: tuple[Tensor, ...]) -> None:
    x = inputs[0]
    if x[:1].numel() == x.shape[1]:
        groups = layer.rows.groups(x, layer.gate_slot)
        alone = [layer.norms[name] for name, count in zip(groups.names, groups.counts, strict=True) if count == 1]
        _rest(layer, [norm for norm in alone if norm.training])


def _rest(layer: nn.Module, norms: list[Any]) -> None:
    # past torch, which would register the layers as children
    object.__setattr__(layer, "resting", norms)
    for norm in norms:
        norm.training = False


def _leave(layer: nn.Module, inputs: object, output: object) -> None:
    for norm in layer.__dict__.pop("resting", ()):
        norm.training = True
