"""Feature-gradient balancers: what the losses say about the shared features stands for what they say about the shared
parameters, so that the T passes run through the heads alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import Parameter

from mola.balancers._base import accumulate
from mola.balancers._graph import levels
from mola.balancers._jacobian import GramianWeighting, trainable


class OverFeatures(GramianWeighting):
    """Rows of G are ∂L_t/∂Z, Z the features (B, …) where the tasks part; Σ_t α_t ∂L_t/∂Z goes back through the rest
    in one pass. Parameters of a task behind the features (MoLA-Grad's adapters) follow that pass; heads get plain
    gradients.

    Where every sample belongs to one task, gradients on Z never meet and α could only see their sizes: there, rows are
    summed over the batch first (as in LibMTL, which does so always).
    A method without shared features: gradients on the shared parameters instead.
    """

    cost = "features"

    def backward(
        self,
        losses: Mapping[str, Tensor],
        aux_loss: Tensor | None,
        shared: list[Parameter],
        rest: list[Parameter],
        features: Tensor | None = None,
    ) -> None:
        """T passes through the heads, one through the rest."""
        if self.alone(losses) or features is None or features.grad_fn is None or not trainable(shared):
            super().backward(losses, aux_loss, shared, rest)
            return
        ahead = self._ahead(losses, features)
        gradients_of = [
            torch.autograd.grad(loss, [features, *ahead], retain_graph=True, allow_unused=True)
            for loss in losses.values()
        ]
        if all(on_features is None for on_features, *_ in gradients_of):
            raise RuntimeError("Output.features: no loss depends on them")
        rows = torch.stack([torch.zeros_like(features) if row is None else row for row, *_ in gradients_of])
        # features may be bf16
        rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
        alpha = self.alpha(summed_where_apart(rows), losses).to(rows)
        is_shared = {id(p) for p in shared}
        for weight, (_, *gradients) in zip(alpha, gradients_of, strict=True):
            for parameter, gradient in zip(ahead, gradients, strict=True):
                if gradient is not None:
                    accumulate(parameter, weight * gradient if id(parameter) in is_shared else gradient)
        combined = torch.tensordot(alpha, rows, dims=1).to(features.dtype)
        torch.autograd.backward(
            [features] if aux_loss is None else [features, aux_loss],
            [combined] if aux_loss is None else [combined, None],
        )

    def _ahead(self, losses: Mapping[str, Tensor], features: Tensor) -> list[Parameter]:
        """The parameters between features and losses."""
        between = {
            leaf: None
            for loss in losses.values()
            for level in levels(loss, stop=features.grad_fn)
            for leaf in level
            if isinstance(leaf, Parameter)
        }
        return list(between)


def summed_where_apart(rows: Tensor) -> Tensor:
    """(T, B, …) → (T, B·…), or (T, …) summed over the batch where no sample has a gradient of two tasks."""
    samples = (rows.flatten(2) if rows.dim() > 2 else rows[..., None]).ne(0).any(2)  # (T, B)
    return rows.flatten(1) if bool((samples.sum(0) > 1).any()) else rows.sum(1).flatten(1)
