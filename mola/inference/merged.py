"""The plain network of one task, where a trained method has one: its backbone with the task's adapters added to the
weights and the task's BatchNorm layers, and its head; in timm's own names.

Whether there is one is tried, not known: what a plain network can't do gives other numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from mola.inference.description import Description
from mola.inference.model import Whole
from mola.layers.adapter import adapted_layers
from mola.layers.gate_kinds import one_hot
from mola.layers.merging import export
from mola.layers.norms import TaskBatchNorm, undivide
from mola.methods import Method
from mola.methods._adapted import AdaptedMethod, TaskGatedMethod
from mola.models.heads import Heads
from mola.types import BadInput, Batch

TOLERANCE = 1e-5  # of predictions, and of the largest of them where that is above 1
IMAGES = 4  # on which networks are compared


@torch.no_grad()
def merged(whole: Whole, task: str) -> nn.Module | None:
    """timm's model with the task's classifier, (B, 3, H, W) → (B, K); None where the method is no such model."""
    parts = backbone_and_head(whole, task)
    if parts is None or ":" in str(whole.description.backbone["name"]):
        return None
    backbone, head = parts
    x, network = example(whole.description), plain_network(whole.description, task)
    state = {**backbone.state_dict(), **{f"{_classifier(network)}.{key}": v for key, v in head.state_dict().items()}}
    if state.keys() != network.state_dict().keys():
        return None
    try:
        network.load_state_dict(state)
    except RuntimeError:
        # another shape
        return None
    return network if are_equal(network(x), whole(x, (task,))[task]) else None


def plain_network(description: Description, task: str) -> nn.Module:
    """timm's model with a classifier for a task, with random weights, in evaluation mode."""
    section = description.backbone
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = timm.create_model(
            section["name"], num_classes=description.task(task).outputs, **section.get("options", {})
        )
    return network.eval()


@torch.no_grad()
def depends_on_task(whole: Whole) -> bool:
    """Whether more than the heads depends on the task: it gives images other features in another task."""
    description = whole.description
    if len(description.tasks) == 1 or description.heterogeneity == "single-input task":
        return False
    x = example(description)
    first, *others = (_features(whole, task, x) for task in description.names)
    return first is None or any(each is None or not are_equal(each, first) for each in others)


@torch.no_grad()
def backbone_and_head(whole: Whole, task: str) -> tuple[nn.Module, nn.Linear] | None:
    """The plain backbone and the linear head of a task, where they are all that the method is in it."""
    x = example(whole.description)
    parts = _plain_parts(whole, task, x)
    if parts is None:
        return None
    backbone, head = parts
    return parts if are_equal(head(backbone(x)), whole(x, (task,))[task]) else None


def _plain_parts(whole: Whole, task: str, x: Tensor) -> tuple[nn.Module, nn.Linear] | None:
    """None where the method has no such parts, or its adapters are mixed otherwise for each image."""
    method = _of_task(whole.method, task)
    backbone, heads = getattr(method, "backbone", None), getattr(method, "heads", None)
    if not isinstance(backbone, nn.Module) or not isinstance(heads, Heads):
        return None
    head = heads.tasks[task]
    if not isinstance(head, nn.Linear):
        return None
    try:
        if isinstance(method, AdaptedMethod):
            expert = _same_for_all(method, whole.batch(x, (task,)), whole.description.names.index(task))
            if expert is None:
                return None
            divided = any(isinstance(module, TaskBatchNorm) for module in backbone.modules())
            plain = export(backbone, expert, task=task if divided else None)
        else:
            plain = undivide(copy.deepcopy(backbone), task)
    except BadInput:
        # adapters whose weights something else computes
        return None
    return plain.eval(), copy.deepcopy(head)


def dense_gate(gate: Tensor | tuple[Tensor, Tensor], experts: int) -> Tensor:
    """(B, E) weights that mean the same as any gate: those of a sparse one, and one-hot ones of an index."""
    if isinstance(gate, tuple):
        weights, chosen = gate
        return weights.new_zeros(weights.shape[0], experts).scatter_add(1, chosen.to(weights.device), weights)
    return gate if gate.is_floating_point() else one_hot(gate, experts, gate.device).weights


def are_equal(one: Tensor, other: Tensor) -> bool:
    """Whether numbers agree to 1e-5, and to that part of the largest where it is above 1."""
    scale = max(1.0, float(other.abs().max()))
    return one.shape == other.shape and bool((one - other).abs().max() <= TOLERANCE * scale)


def example(description: Description, number: int = IMAGES) -> Tensor:
    """(B, 3, H, W) noise of the size that the model sees, the same at every call."""
    return torch.randn(number, 3, *description.images.visible_size, generator=torch.Generator().manual_seed(0))


def _features(whole: Whole, task: str, x: Tensor) -> Tensor | None:
    features: Tensor | None = whole.method(whole.batch(x, (task,))).features
    if features is None and (parts := backbone_and_head(whole, task)):
        features = parts[0](x)
    return features


def _of_task(method: Method, task: str) -> Method:
    """The model of a task inside a method that is a model for each."""
    module, tasks = method.parts().get(task, (method, ()))
    return module if isinstance(module, Method) and tasks == (task,) else method


def _same_for_all(method: AdaptedMethod, batch: Batch, task: int) -> int | Tensor | None:
    """The expert of all images of a task, or the weights (E,) of all; None where images differ. task: its number."""
    if batch.task is None and isinstance(method, TaskGatedMethod):
        # each image has all tasks, and meets the gate of each
        row = method.task_gates()[task]
        return row if row.is_floating_point() else int(row)
    gate: Any = method.gates(batch).gate
    if isinstance(gate, Tensor) and not gate.is_floating_point():
        return int(gate[0]) if bool((gate == gate[0]).all()) else None
    weights = dense_gate(gate, next(iter(adapted_layers(method.backbone).values())).experts)
    return weights[0] if bool((weights == weights[0]).all()) else None


def _classifier(network: Any) -> str:
    """The name of timm's classifier."""
    names: Mapping[nn.Module, str] = {module: name for name, module in network.named_modules()}
    return names.get(network.get_classifier(), "")
