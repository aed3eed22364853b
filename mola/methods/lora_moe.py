"""Sparse mixture of LoRA: a router picks the top k adapters of each sample.

Source: top-k gating of Shazeer et al. 2017, arXiv 1701.06538 (without noise), over low-rank experts, trained jointly
with the backbone as in MoLA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from mola.methods._adapted import Gates
from mola.methods._routed import RoutedMethod, load_balance
from mola.types import BadInput, Batch, Range, SearchSpace, Task


class LoRAMoE(RoutedMethod):
    """γ = softmax over the k highest router scores, 0 elsewhere; same router network and adapters as MoLA-Router, no
    TwD loss.

    Differs from the paper: its two losses, of importance and load, are one here, which is off by default.
    """

    class Options(RoutedMethod.Options):
        top_k: PositiveInt = Field(2, description="k, the adapters of each sample")
        load_balance: NonNegativeFloat = Field(0.0, description="weight of the loss that balances the experts' load")

    search_space: ClassVar[SearchSpace] = {**RoutedMethod.search_space, "top_k": Range(1, 4)}

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Options) -> None:
        experts = self.experts_for(tasks, options)
        if options.top_k > experts:
            raise BadInput(f"top_k: expected at most the number of experts, {experts}, found {options.top_k}")
        super().__init__(tasks, backbone, options)
        self.top_k, self.load_balance = options.top_k, options.load_balance

    def gates(self, batch: Batch) -> Gates:
        """The k best experts, weighed. Experts that no sample chose cost nothing."""
        scores = self.router(batch.images).float()  # (B, E)
        top = scores.topk(self.top_k, dim=1)
        weights = top.values.softmax(1)  # (B, k)
        return Gates((weights, top.indices), scores.new_zeros(scores.shape).scatter(1, top.indices, weights), scores)

    def aux_loss(self, batch: Batch, gates: Gates) -> Tensor | None:
        """:func:`mola.methods._routed.load_balance`, weighted."""
        if not self.load_balance or gates.scores is None:
            return None
        return self.load_balance * load_balance(gates.scores.softmax(1), gates.gate[1])
