"""Hard router: each sample has the one adapter that the router scores highest.

Source: top-1 routing of Switch Transformers, Fedus et al. 2022 (arXiv 2101.03961), over low-rank experts, trained
jointly with the backbone as in MoLA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn

from mola.methods._adapted import Gates
from mola.methods._routed import RoutedMethod, load_balance
from mola.types import Batch, Range, SearchSpace, Task


class LoRAHardRouter(RoutedMethod):
    """y_i = (W + p_ie ΔW_e) x_i with e = argmax p_i, p_i = softmax(router(x_i)).

    The router learns through p_ie, which scales the adapter, as published.
    Differs from the paper: one choice per image for the whole network; no noise on the router's input, and no limit on
    an expert's load, so that no image goes without.
    """

    class Options(RoutedMethod.Options):
        load_balance: NonNegativeFloat = Field(0.01, description="weight of the loss that balances the experts' load")

    search_space: ClassVar[SearchSpace] = {**RoutedMethod.search_space, "load_balance": Range(0.001, 0.1, log=True)}

    def __init__(self, tasks: Sequence[Task], backbone: Callable[[], nn.Module], options: Options) -> None:
        super().__init__(tasks, backbone, options)
        self.load_balance = options.load_balance

    def gates(self, batch: Batch) -> Gates:
        """The likeliest expert, weighed. Experts that no sample chose cost nothing."""
        probabilities = self.router(batch.images).float().softmax(1)  # (B, E)
        weight, chosen = probabilities.max(1, keepdim=True)  # (B, 1) each
        routing = probabilities.new_zeros(probabilities.shape).scatter(1, chosen, 1.0)
        return Gates((weight, chosen), routing, probabilities)

    def aux_loss(self, batch: Batch, gates: Gates) -> Tensor | None:
        """:func:`mola.methods._routed.load_balance`, weighted."""
        if not self.load_balance or gates.scores is None:
            return None
        return self.load_balance * load_balance(gates.scores, gates.gate[1])
