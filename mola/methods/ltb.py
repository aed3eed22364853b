"""LTB: a tree of stages whose branches are learnt; every node draws the node of the stage before that it grows from.

Source: Guo, Lee and Ulbricht 2020, Learning to Branch for Multi-Task Learning (ICML, arXiv 2006.01895).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import Parameter

from mola.methods import Method, faster
from mola.models.heads import Heads
from mola.models.stages import PausedPass, run_stage, stages, start_pass
from mola.types import Batch, Output, Range, SearchSpace, Task


class LTB(Method):
    """x_b^s = Σ_p d_p y_p^(s−1), where d is a one-hot draw from softmax(θ_b^s); y_b^s = stage_b^s(x_b^s). Each task
    draws its features among the last stage's nodes in the same way. In evaluation d is the likeliest.

    θ gets the gradient of the Gumbel-softmax at τ = temperature / √n, n counted in steps from the warm-up on. At the
    rate of weights, draws stay random for thousands of steps, and nodes whose inputs change so learn nothing; a run of
    N steps needs a rate of some 10⁵ / N.

    A node that no present task has drawn learns nothing in that step. It is run, once, where θ's gradient needs what it
    gives. In evaluation only the tree is run, each node once, on the samples of its tasks.
    Differs from the paper: θ is learnt with the weights, by one optimiser, and the tree is not trained again from
    scratch when it is found; τ falls with steps, as a method knows no epochs. The first stage's nodes grow from the
    image. LibMTL sums all parents in its warm-up, and gives each task a fixed node of the last stage.
    """

    class Options(Method.Options):
        branches: PositiveInt | None = Field(None, description="nodes of every stage; null: one per task")
        warmup: NonNegativeInt = Field(
            100, description="training steps that leave θ alone, so that all nodes learn from equally many draws"
        )
        temperature: PositiveFloat = Field(
            10.0, description="of the Gumbel-softmax in the first step after the warm-up"
        )
        rate: PositiveFloat = Field(10.0, description="how much faster than a weight θ learns")

    search_space: ClassVar[SearchSpace] = {
        "branches": Range(2, 8),
        "temperature": Range(1.0, 50.0, log=True),
        "rate": Range(1.0, 1000.0, log=True),
    }
    steps: Tensor  # () int64, training steps so far

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Options) -> None:
        super().__init__(tasks, backbone, options)
        width = options.branches or len(tasks)
        self.towers = nn.ModuleList(backbone() for _ in range(width))
        self.heads = Heads(tasks, self.towers[0])
        self.cuts = stages(self.towers[0])
        # θ / rate of (stage, node), over parents; and of a task, over the last stage's nodes
        self.parents = nn.Parameter(torch.zeros(len(self.cuts) - 1, width, width))
        self.leaves = nn.Parameter(torch.zeros(len(tasks), width))
        self.warmup, self.temperature, self.rate = options.warmup, options.temperature, options.rate
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
        before = {0: start_pass(batch.x)}
        for stage, nodes in enumerate(tree):
            passes = {}
            alive = set(nodes.values())
            for node in range(len(self.towers)) if learns else sorted(alive):
                parent = origin[stage - 1][node] if stage else 0
                start = before[parent]
                if stage and learns:
                    values = [paused.value for paused in before.values()]
                    start = start.with_value(Chosen.apply(parents[stage - 1, node], parent, *values))
                with nullcontext() if node in alive else torch.no_grad():
                    passes[node] = self._run(node, start)
            before = passes
        features = torch.stack([paused.value for paused in before.values()], 1)  # (B, P, F), or maps
        predictions: dict[str, Tensor] = {}
        for name, node in tree[-1].items():
            place, *values = list(before).index(node), *features[batch.rows(name)].unbind(1)
            leaf = Chosen.apply(leaves[self.task_names.index(name)], place, *values) if learns else values[place]
            predictions |= self.heads(leaf, batch.only(name))
        return Output(predictions, features=features)

    def _likeliest(self, batch: Batch) -> Output:
        """Every node of the tree on the samples of its tasks."""
        everyone = torch.arange(len(batch.x))
        rows = {name: everyone[batch.rows(name)] for name in batch.y}
        origin = self.parents.argmax(-1).tolist()
        tree = self._tree(self.parents, self.leaves, batch)
        before = {0: (start_pass(batch.x), everyone)}
        for stage, nodes in enumerate(tree):
            passes = {}
            for node in sorted(set(nodes.values())):
                paused, present = before[origin[stage - 1][node] if stage else 0]
                needed = torch.cat([rows[name] for name, other in nodes.items() if other == node]).sort().values
                start = paused.with_value(picked(paused.value, present, needed))
                with self.on_rows(needed):
                    passes[node] = (self._run(node, start), needed)
            before = passes
        predictions: dict[str, Tensor] = {}
        for name, node in tree[-1].items():
            paused, present = before[node]
            predictions |= self.heads(picked(paused.value, present, rows[name]), batch.only(name))
        return Output(predictions)

    def _tree(self, parents: Tensor, leaves: Tensor, batch: Batch) -> list[dict[str, int]]:
        """(S − 1, P, P) and (T, P) weights → of each stage the node of every present task, where the largest decide."""
        ends, origin = leaves.argmax(-1).tolist(), parents.argmax(-1).tolist()
        tree = [{name: ends[self.task_names.index(name)] for name in batch.y}]
        for origins in reversed(origin):
            tree.insert(0, {name: origins[node] for name, node in tree[0].items()})
        return tree

    def _run(self, node: int, start: PausedPass) -> PausedPass:
        """The next stage of a tower; with the last one what is behind it."""
        paused = run_stage(self.towers[node], start, self.cuts)
        return run_stage(self.towers[node], paused, self.cuts) if paused.stages_done == len(self.cuts) else paused


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


def picked(values: Tensor, present: Tensor, needed: Tensor) -> Tensor:
    """The samples ``needed`` (B',) of a value (B, …) that holds the samples ``present`` (B,); both ascending."""
    return values if len(needed) == len(present) else values[torch.searchsorted(present, needed)]
