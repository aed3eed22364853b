"""LTB: a tree of stages whose branches are learnt; every node draws the node of the stage before that it grows from.

Source: Guo, Lee and Ulbricht 2020, Learning to Branch for Multi-Task Learning (ICML, arXiv 2006.01895).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import Parameter

from mola.methods import Method
from mola.methods._rate import faster
from mola.models.heads import Heads
from mola.models.stages import Point, begin, stages, step
from mola.types import Batch, Output, Range, SearchSpace, Task


class LTB(Method):
    """x_b^s = Σ_p d_p y_p^(s−1), where d is a one-hot draw from softmax(θ_b^s); y_b^s = stage_b^s(x_b^s). Each task
    draws its features among the last stage's nodes in the same way. In evaluation d is the likeliest.

    branches:    nodes of every stage; None: one per task.
    warmup:      training steps that leave θ alone, so that all nodes learn from equally many draws.
    rate:        how much faster than a weight θ learns. At the rate of weights, draws stay random for thousands of
                 steps, and nodes whose inputs change so learn nothing; a run of N steps wants some 10⁵ / N.
    temperature: τ₀. θ gets the gradient of the Gumbel-softmax at τ = τ₀ / √n, n counted in steps from the warm-up on.

    A node that no present task has drawn learns nothing in that step. It is run, once, where θ's gradient needs what it
    gives. In evaluation only the tree is run, each node once, on the samples of its tasks.
    Differs from the paper: θ is learnt with the weights, by one optimiser, and the tree is not trained again from
    scratch when it is found; τ falls with steps, as a method knows no epochs. The first stage's nodes grow from the
    image. LibMTL sums all parents in its warm-up, and gives each task a fixed node of the last stage.
    """

    search_space: ClassVar[SearchSpace] = {
        "branches": Range(2, 8),
        "temperature": Range(1.0, 50.0, log=True),
        "rate": Range(1.0, 1000.0, log=True),
    }
    steps: Tensor  # () int64, training steps so far

    def __init__(
        self,
        tasks: Sequence[Task],
        backbone: Callable[[], nn.Module],
        *,
        branches: PositiveInt | None = None,
        warmup: NonNegativeInt = 100,
        temperature: PositiveFloat = 10.0,
        rate: PositiveFloat = 10.0,
    ) -> None:
        super().__init__(tasks, backbone)
        width = branches or len(tasks)
        self.towers = nn.ModuleList(backbone() for _ in range(width))
        self.heads = Heads(tasks, self.towers[0])
        self.cuts = stages(self.towers[0])
        self.parents = nn.Parameter(
            torch.zeros(len(self.cuts) - 1, width, width)
        )  # θ / rate of (stage, node): over parents
        self.leaves = nn.Parameter(torch.zeros(len(tasks), width))  # θ / rate of a task: over the last stage's nodes
        self.warmup, self.temperature, self.rate = warmup, temperature, rate
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Batch) -> Output:
        """A drawn tree in training, the likeliest in evaluation."""
        return self._drawn(batch) if self.training else self._likeliest(batch)

    def shared_parameters(self) -> list[Parameter]:
        """The nodes and their θ: a draw may lead any task to any of them. A task's own θ is its own."""
        return [*self.towers.parameters(), self.parents]

    def _drawn(self, batch: Batch) -> Output:
        """Every node on all samples, so that BatchNorm sees the same under any draw."""
        since = int(self.steps) - self.warmup
        self.steps += 1
        learns = since >= 0
        tau = self.temperature / (max(since, 0) + 1) ** 0.5
        parents, leaves = (
            F.gumbel_softmax(faster(theta if learns else theta.detach(), self.rate), tau)
            for theta in (self.parents, self.leaves)
        )
        tree = self._tree(parents, leaves, batch)
        origin = parents.argmax(-1).tolist()
        before = {0: begin(batch.x)}
        for stage, nodes in enumerate(tree):
            points = {}
            alive = set(nodes.values())
            for node in range(len(self.towers)) if learns else sorted(alive):
                parent = origin[stage - 1][node] if stage else 0
                start = before[parent]
                if stage and learns:
                    values = [point.value for point in before.values()]
                    start = start.put(Chosen.apply(parents[stage - 1, node], parent, *values))
                with nullcontext() if node in alive else torch.no_grad():
                    points[node] = self._run(node, start)
            before = points
        features = torch.stack([point.value for point in before.values()], 1)  # (B, P, F), or maps
        predictions: dict[str, Tensor] = {}
        for name, node in tree[-1].items():
            place, *values = list(before).index(node), *features[batch.rows(name)].unbind(1)
            own = Chosen.apply(leaves[self.task_names.index(name)], place, *values) if learns else values[place]
            predictions |= self._headed(name, own, batch)
        return Output(predictions, features=features)

    def _likeliest(self, batch: Batch) -> Output:
        """Every node of the tree on the samples of its tasks."""
        everyone = torch.arange(len(batch.x))
        rows = {name: everyone[batch.rows(name)] for name in batch.y}
        origin = self.parents.argmax(-1).tolist()
        tree = self._tree(self.parents, self.leaves, batch)
        before = {0: (begin(batch.x), everyone)}
        for stage, nodes in enumerate(tree):
            points = {}
            for node in sorted(set(nodes.values())):
                point, there = before[origin[stage - 1][node] if stage else 0]
                wanted = torch.cat([rows[name] for name, own in nodes.items() if own == node]).sort().values
                points[node] = (self._run(node, point.put(picked(point.value, there, wanted))), wanted)
            before = points
        predictions: dict[str, Tensor] = {}
        for name, node in tree[-1].items():
            point, there = before[node]
            predictions |= self._headed(name, picked(point.value, there, rows[name]), batch)
        return Output(predictions)

    def _tree(self, parents: Tensor, leaves: Tensor, batch: Batch) -> list[dict[str, int]]:
        """(S − 1, P, P) and (T, P) weights → of each stage the node of every present task, where the largest decide."""
        ends, origin = leaves.argmax(-1).tolist(), parents.argmax(-1).tolist()
        tree = [{name: ends[self.task_names.index(name)] for name in batch.y}]
        for origins in reversed(origin):
            tree.insert(0, {name: origins[node] for name, node in tree[0].items()})
        return tree

    def _run(self, node: int, start: Point) -> Point:
        """The next stage of a tower; with the last one what is behind it."""
        point = step(self.towers[node], start, self.cuts)
        return step(self.towers[node], point, self.cuts) if point.done == len(self.cuts) else point

    def _headed(self, name: str, features: Tensor, batch: Batch) -> dict[str, Tensor]:
        predicted: dict[str, Tensor] = self.heads(features, Batch(batch.x, None, {name: batch.y[name]}, (name,)))
        return predicted


class Chosen(torch.autograd.Function):
    """Σ_p d_p y_p for one-hot d, straight-through: to d the gradients of the weighted sum, to the chosen y its own."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, chosen: int, *values: Tensor) -> Tensor:
        """weights: (P,) what d stands for. chosen: where d is 1. values: P times (B, …) → (B, …)."""
        ctx.save_for_backward(*values)
        ctx.chosen = chosen
        return values[chosen].view_as(values[chosen])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """(B, …) → (P,), None, and per value (B, …) or None."""
        along = torch.stack([(gradient * value).sum(dtype=torch.float32) for value in ctx.saved_tensors])
        return along, None, *(gradient if i == ctx.chosen else None for i in range(len(ctx.saved_tensors)))


def picked(values: Tensor, there: Tensor, wanted: Tensor) -> Tensor:
    """The samples ``wanted`` (B',) of a value (B, …) that holds the samples ``there`` (B,); both ascending."""
    return values if len(wanted) == len(there) else values[torch.searchsorted(there, wanted)]
