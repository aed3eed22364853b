"""GradNorm: weights that bring the tasks' gradient norms together, faster for tasks that learn slowly.

Source: Chen et al. 2018, arXiv 1711.02257, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import ClassVar, cast

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor
from torch.nn import Parameter

from mola.balancers._base import total_of
from mola.balancers._graph import levels
from mola.balancers._norms import gradient_norms
from mola.balancers._stepped import Stepped
from mola.balancers._weighting import LossWeighting
from mola.types import Range, SearchSpace, Task

SMALLEST = 1e-8


class GradNorm(LossWeighting):
    """L = Σ_t w_t L_t. After every batch w descends on Σ_t |w_t n_t − mean_k(w_k n_k) · r_t^alpha|, and is scaled to
    keep its sum, T; n_t = ‖∂L_t/∂W‖, r_t the task's L/L(0) over its mean of the tasks present.

    W is the shared weight nearest to the losses that all of them reach, the paper's "last shared layer" (LibMTL takes
    all shared parameters, at T backward passes). For Cross-stitch that is its last unit, of which each task reaches a
    row of its own. ∂n_t/∂w is taken in closed form, without a gradient of a gradient.
    Differs from the original: weights stay > 0, and those of absent tasks stand still, so that those present keep
    their own sum. Where no shared weight has a gradient of all losses present, w stands still.
    """

    class Options(LossWeighting.Options):
        alpha: NonNegativeFloat = Field(1.5, description="how hard slow tasks are pulled; the paper's")
        lr: PositiveFloat = Field(0.025, description="of the weights' own Adam")

    options: Options
    size = "sum"
    needs_shared = True
    search_space: ClassVar[SearchSpace] = {"alpha": Range(0.1, 3.0, log=True), "lr": Range(0.001, 0.1, log=True)}

    def __init__(self, tasks: Sequence[Task], device: torch.device | None, options: Options) -> None:
        super().__init__(tasks, device, options)
        self.w = Stepped(self.names, 1.0, device, options.lr)
        # L(0)
        self.first: dict[str, Tensor] = {}

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Σ_t w_t L_t."""
        return total_of(self.w.values[name].detach() * loss for name, loss in losses.items())

    def backward(
        self,
        losses: Mapping[str, Tensor],
        aux_loss: Tensor | None,
        shared: list[Parameter],
        rest: list[Parameter],
        features: Tensor | None = None,
    ) -> None:
        """T passes to the last shared layer, then one through everything."""
        layer = last_shared(losses, shared) if len(self.names) > 1 and len(losses) > 1 else []
        norms = gradient_norms(list(losses.values()), layer) if layer else None
        # a batch without a pixel that counts has loss 0, which is no beginning
        for name, loss in losses.items():
            first = self.first.get(name, loss.detach())
            self.first[name] = torch.where(first > 0, first, loss.detach())
        super().backward(losses, aux_loss, shared, rest)
        if norms is not None:
            self._step(losses, norms)

    def _step(self, losses: Mapping[str, Tensor], norms: Tensor) -> None:
        names = list(losses)
        ratios = torch.stack([losses[name].detach() / self.first[name].clamp(min=SMALLEST) for name in names])
        before = self.w.of(names)
        weighted = before * norms  # (T,)
        target = weighted.mean() * (ratios / ratios.mean().clamp(min=SMALLEST)) ** self.options.alpha
        self.w.step(dict(zip(names, (weighted - target).sign() * norms, strict=True)))
        with torch.no_grad():
            values: list[Tensor] = [self.w.values[name] for name in names]
            for value in values:
                value.clamp_(min=SMALLEST)
            scale = before.sum() / torch.stack(values).sum()
            for value in values:
                value.mul_(scale)

    def state_dict(self) -> dict[str, object]:
        """Weights with their optimiser, and the first losses by task name."""
        return {"w": self.w.state_dict(), "first": dict(self.first)}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.w.load_state_dict(cast("dict[str, object]", state["w"]))
        self.first = {n: v.to(self.device) for n, v in cast("dict[str, Tensor]", state["first"]).items()}


def last_shared(losses: Mapping[str, Tensor], shared: list[Parameter]) -> list[Parameter]:
    """The shared weights (not biases or scales) that all losses reach, and fewest operations part from the loss that is
    farthest; none if none is trained.
    """
    weights = {id(p): p for p in shared if p.dim() > 1}
    reached: list[set[int]] = [set() for _ in losses]
    for level in zip_longest(*(levels(loss) for loss in losses.values()), fillvalue=()):
        for ids, leaves in zip(reached, level, strict=True):
            ids.update(id(leaf) for leaf in leaves if id(leaf) in weights)
        common = set.intersection(*reached)
        if common:
            return [p for key, p in weights.items() if key in common]
    return []
