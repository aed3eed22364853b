"""DSelect-k: MMoE whose gates learn, by gradient descent alone, to use at most k experts each.

Source: Hazimeh et al. 2021, DSelect-k: Differentiable Selection in the Mixture of Experts with Applications to
Multi-Task Learning (NeurIPS, arXiv 2106.03760).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import Parameter

from mola.methods import Method
from mola.methods._experts import GATE_INPUTS, gate_input, mixture
from mola.models.heads import Heads
from mola.types import BadInput, Batch, Output, Range, SearchSpace, Task

EPSILON = 1e-6  # in logarithms and quotients, as published


class DSelectK(Method):
    """f_t = Σ_e γ_te backbone_e(x), y_t = head_t(f_t), γ_t = Σ_i softmax(w_t)_i r(z_ti) of the k selectors i: see
    :class:`Gate`.

    With ``gates: static`` z and w are learnt per task, the paper's gates that are conditioned on the task only; with
    ``gates: sample`` both are linear in the sample pooled to 8×8 pixels, its gates that are conditioned on the example.
    In evaluation an expert runs on those samples alone that give it weight.
    Differs from the paper: under ``gates: sample`` the auxiliary loss is a mean over the samples, where its code sums.
    """

    class Options(Method.Options):
        experts: PositiveInt | None = Field(None, description="E, the number of experts; null: one per task")
        top_k: PositiveInt = Field(2, description="k, the experts of each task")
        gates: Literal["static", "sample"] = Field("static", description="what the gates depend on: the task, or both")
        gamma: PositiveFloat = Field(1.0, description="γ, the width of the smooth step")
        entropy: NonNegativeFloat = Field(
            1e-6, description="λ of the auxiliary loss λ Σ_ti H(r(z_ti)), which hurries selectors to a single expert"
        )

    looks_at_images = True
    search_space: ClassVar[SearchSpace] = {
        "experts": Range(2, 8),
        "top_k": Range(1, 2),
        "entropy": Range(1e-6, 1e-1, log=True),
    }

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Options) -> None:
        super().__init__(tasks, backbone, options)
        experts, top_k = options.experts or len(tasks), options.top_k
        if top_k > experts:
            raise BadInput(f"top_k: expected at most the number of experts, {experts}, found {top_k}")
        self.experts = nn.ModuleList(backbone() for _ in range(experts))
        self.heads = Heads(tasks, self.experts[0])
        inputs = GATE_INPUTS if options.gates == "sample" else None
        self.gates = nn.ModuleDict({task.name: Gate(experts, top_k, options.gamma, inputs) for task in tasks})
        self.entropy = options.entropy

    def forward(self, batch: Batch) -> Output:
        """In training all experts on all samples, as their gates need it."""
        pixels = gate_input(batch.images)
        weights, aux_loss = {}, torch.zeros((), device=batch.x.device)
        for name in batch.y:
            weights[name], selectors = self.gates[name](pixels[batch.rows(name)])
            aux_loss = aux_loss + self._regularisation(selectors)
        features = self._features(batch, weights)
        predictions: dict[str, Tensor] = {}
        for name, of_task in weights.items():
            predictions |= self.heads(mixture(of_task, features[batch.rows(name)]), batch.only(name))
        return Output(predictions, aux_loss=aux_loss if self.training else None, features=features)

    def shared_parameters(self) -> list[Parameter]:
        """The experts."""
        return list(self.experts.parameters())

    def _regularisation(self, selectors: Tensor) -> Tensor:
        """(B, k, E) → (): entropy, and where E is no power of two 1 / Σ_e r(z)_e, against codes of no expert."""
        each = -self.entropy * (selectors * (selectors + EPSILON).log()).sum(2)  # (B, k)
        if selectors.shape[2] & (selectors.shape[2] - 1):
            each = each + 1 / selectors.sum(2).clamp(min=EPSILON)
        return each.sum(1).mean()

    def _features(self, batch: Batch, weights: dict[str, Tensor]) -> Tensor:
        """(B, E, F), or maps; in evaluation 0 where no task of the sample gives the expert weight."""
        if self.training:
            return torch.stack([expert(batch.x).float() for expert in self.experts], dim=1)
        used = torch.zeros(len(batch.x), len(self.experts), dtype=torch.bool, device=batch.x.device)
        for name, of_task in weights.items():
            used[batch.rows(name)] |= of_task > 0
        features: dict[int, Tensor] = {}
        for number, expert in enumerate(self.experts):
            rows = used[:, number].nonzero().flatten()
            # one at least runs, for the features' shape
            if len(rows) or (not features and number == len(self.experts) - 1):
                some = rows if len(rows) else slice(None)
                with self.on_rows(some):
                    output = expert(batch.x[some]).float()
                zeros = output.new_zeros(len(batch.x), *output.shape[1:])
                features[number] = zeros.index_copy(0, rows, output[: len(rows)])
        zeros = torch.zeros_like(next(iter(features.values())))
        return torch.stack([features.get(number, zeros) for number in range(len(self.experts))], dim=1)


class Gate(nn.Module):
    """k selectors of one expert each. Selector i reads the code S(z_i): its bit j is 1 with weight S(z_ij), and
    r(z_i)_e = Π_j S(z_ij) or 1 − S(z_ij), as bit j of e is 1 or 0. S is the smooth step: 0 up to −γ/2, 1 from γ/2, a
    cubic between. So once all |z| ≥ γ/2, each selector has one expert, exactly.

    inputs: what z and w are linear in; None: they are parameters themselves.
    """

    codes: Tensor  # (E, bits) bool

    def __init__(self, experts: int, top_k: int, gamma: float, inputs: int | None) -> None:
        super().__init__()
        bits = (experts - 1).bit_length()
        self.shape, self.gamma = (top_k, bits), gamma
        self.register_buffer(
            "codes", torch.arange(experts)[:, None].bitwise_right_shift(torch.arange(bits)) % 2 == 1, persistent=False
        )
        self.z = _Constant(top_k * bits) if inputs is None else nn.Linear(inputs, top_k * bits)
        self.w = _Constant(top_k) if inputs is None else nn.Linear(inputs, top_k)
        # as in the published code
        for part, bound in ((self.z, gamma / 100), (self.w, 0.05)):
            for parameter in part.parameters():
                nn.init.uniform_(parameter, -bound, bound)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(B, I) → weights (B, E) and selectors r (B, k, E)."""
        z = self.z(inputs).float().view(len(inputs), *self.shape)
        t = (z / self.gamma).clamp(-0.5, 0.5)
        on = (0.5 + 1.5 * t - 2 * t**3)[:, :, None]  # (B, k, 1, bits)
        chosen = torch.where(self.codes, on, 1 - on)  # (B, k, E, bits)
        # no prod(): its backward has no deterministic form on CUDA where a factor is 0
        selectors = reduce(torch.mul, chosen.unbind(3), chosen.new_ones(chosen.shape[:3]))
        weights = torch.einsum("bk,bke->be", self.w(inputs).float().softmax(1), selectors)
        return weights, selectors


class _Constant(nn.Module):
    """The same answer for every sample."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.empty(size))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.value.repeat(len(inputs), 1)
