"""PLE: CGC in several levels; each mixes what the experts of the level before give, per task and for all tasks.

Source: Tang et al. 2020, Progressive Layered Extraction: A Novel Multi-Task Learning Model for Personalized
Recommendations (RecSys), Section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import Parameter

from mola.layers.norms import keep_task
from mola.methods import Method
from mola.methods._experts import GATE_INPUTS, gate_input, mixture
from mola.methods._stages import advance, channel_axis, modules_after
from mola.models.heads import Heads
from mola.models.stages import PausedPass, stages, start_pass
from mola.types import BadInput, Batch, Output, Range, SearchSpace, Task

SHARED = ""  # the route that belongs to no task
Rows = Tensor | slice


class PLE(Method):
    """In level l task t mixes the shared experts and its own, g_t^l = Σ_e γ_te^l expert_e^l, and a shared gate mixes
    all experts, g_s^l. A task's experts go on from g_t^l, the shared ones from g_s^l; y_t = head_t(g_t^L). γ^l is a
    softmax, linear in g^(l−1).

    Levels are equal shares of the backbone's stages; what is behind the last stage is in the last level. One level is
    ``cgc``. As the shared gate mixes all experts, each of them sees every sample below the last level, and there learns
    from the losses of all tasks: it is a shared parameter. In the last level a task's own experts see its samples
    alone.
    Differs from the paper: an expert's levels are parts of one backbone, where it has small perceptrons; the first
    level's gates see the input pooled to 8×8 pixels, later ones the mean over places. LibMTL has no shared gate.
    """

    class Options(Method.Options):
        levels: PositiveInt = Field(2, description="L, at most the number of the backbone's stages")
        shared_experts: PositiveInt = Field(1, description="experts of all tasks, as many in every level")
        own_experts: PositiveInt = Field(1, description="experts of every single task, as many in every level")

    looks_at_images = True
    search_space: ClassVar[SearchSpace] = {
        "levels": Range(2, 3),
        "shared_experts": Range(1, 4),
        "own_experts": Range(1, 2),
    }

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Options) -> None:
        super().__init__(tasks, backbone, options)
        levels, shared_experts, own_experts = options.levels, options.shared_experts, options.own_experts
        self.shared = nn.ModuleList(backbone() for _ in range(shared_experts))
        self.task_experts = nn.ModuleDict(
            {task.name: nn.ModuleList(backbone() for _ in range(own_experts)) for task in tasks}
        )
        self.heads = Heads(tasks, self.shared[0])
        self.cuts = stages(self.shared[0]) if levels > 1 else []
        if levels > max(1, len(self.cuts)):
            raise BadInput(
                f"levels: expected at most the backbone's number of stages, {len(self.cuts)}, found {levels}"
            )
        below = [round(len(self.cuts) * (level + 1) / levels) for level in range(levels - 1)]
        self.ends = [*below, len(self.cuts) + 1]  # the stages behind each level's end
        for name, experts in self.task_experts.items():
            for expert in experts.children():
                for module in self._last_level(expert):
                    keep_task(module, name)
        inputs = [GATE_INPUTS, *(self.cuts[end - 1].channels for end in below)]
        mixed = shared_experts + own_experts
        self.gates = nn.ModuleDict({task.name: nn.ModuleList(nn.Linear(i, mixed) for i in inputs) for task in tasks})
        everyone = shared_experts + own_experts * len(tasks)
        self.shared_gates = nn.ModuleList(nn.Linear(i, everyone) for i in inputs[:-1])

    def forward(self, batch: Batch) -> Output:
        """All experts on all samples; in the last level a task's own on its samples."""
        passes = {route: [start_pass(batch.x)] * len(experts) for route, experts in self._routes().items()}
        of_all = {SHARED: slice(None)} | self._rows(batch, 0)
        inputs = {route: batch.x[rows] for route, rows in of_all.items()}
        # what gates look at: below the first level what the experts take
        views = {route: batch.images[rows] for route, rows in of_all.items()}
        for level in range(len(self.ends) - 1):
            outputs = {route: self._run(route, passes, inputs[route], level) for route in passes}
            mixed = {SHARED: self._mixed(self.shared_gates[level], views[SHARED], [*outputs.values()], level)}
            for name, rows in self._rows(batch, level + 1).items():
                pair = [outputs[SHARED][rows], outputs[name][rows]]
                mixed[name] = self._mixed(self._gates(name)[level], views[name][rows], pair, level)
            inputs = views = mixed
        last = len(self.ends) - 1
        shared = self._run(SHARED, passes, inputs[SHARED], last)  # (B, S, F), or maps
        predictions: dict[str, Tensor] = {}
        for name, rows in self._rows(batch, last).items():
            with self.on_rows(rows):
                private = self._run(name, passes, inputs[name], last)
            pair = [shared[rows], private]
            features = self._mixed(self._gates(name)[last], views[name], pair, last)
            predictions |= self.heads(features, batch.only(name))
        return Output(predictions, features=None if last else shared)

    def shared_parameters(self) -> list[Parameter]:
        """The shared experts and gates; below the last level the experts of every task, and the gates that lead to
        them.
        """
        shared = [*self.shared.parameters(), *self.shared_gates.parameters()]
        if len(self.ends) > 1:
            for name in self.task_names:
                for expert in self.task_experts[name].children():
                    late = {p for module in self._last_level(expert) for p in module.parameters()}
                    shared += [p for p in expert.parameters() if p not in late]
                shared += [p for gate in self._gates(name)[:-2] for p in gate.parameters()]
        return shared

    def _last_level(self, expert: nn.Module) -> list[nn.Module]:
        """The modules of a task's expert that get its samples alone."""
        return modules_after(expert, self.cuts[self.ends[-2] - 1]) if len(self.ends) > 1 else [expert]

    def _routes(self) -> dict[str, list[nn.Module]]:
        return {SHARED: [*self.shared]} | {name: [*experts.children()] for name, experts in self.task_experts.items()}

    def _gates(self, name: str) -> list[nn.Module]:
        return [*self.gates[name].children()]

    def _rows(self, batch: Batch, level: int) -> dict[str, Rows]:
        """The samples that a task's own experts see: below the last level all, for the shared gate."""
        if level < len(self.ends) - 1:
            return dict.fromkeys(self.task_names, slice(None))
        return {name: batch.rows(name) for name in batch.y}

    def _run(self, route: str, passes: dict[str, list[PausedPass]], value: Tensor, level: int) -> Tensor:
        """One level of a route's experts, all from the same value (B, …) → (B, E, …). Moves their passes on."""
        experts, end = self._routes()[route], self.ends[level]
        passes[route] = [
            advance(e, p.with_value(value), end, self.cuts) for e, p in zip(experts, passes[route], strict=True)
        ]
        return torch.stack([paused.value.float() for paused in passes[route]], dim=1)

    def _mixed(self, gate: nn.Module, value: Tensor, outputs: list[Tensor], level: int) -> Tensor:
        """The experts' (B, E, …), weighed by a gate that looks at the level's input, or the image, (B, …) → (B, …)."""
        if level == 0:
            inputs = gate_input(value)
        else:
            inputs = value.movedim(channel_axis(self.shared[0], value), -1).flatten(1, -2).mean(1)  # (B, C)
        return mixture(gate(inputs).float().softmax(1), torch.cat(outputs, dim=1))
