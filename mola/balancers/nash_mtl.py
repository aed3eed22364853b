"""Nash-MTL: the tasks' bargaining solution, whatever the scales of their losses.

Source: Navon et al. 2022, Multi-Task Learning as a Bargaining Game, arXiv 2202.01017, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mola.balancers._jacobian import GramianWeighting


class NashMTL(GramianWeighting):
    """G Gᵀ α = 1/α; d = Gᵀ α, so that ‖d‖ = √T whatever the sizes of the losses.

    The released code's clip of ‖d‖ to 1 is left out.
    Solved exactly, by Newton's method on ½ αᵀ M α − Σ_t log α_t, where the original (and TorchJD) takes up to 20 steps
    of a sequence of convex programs, whose solver ECOS is under the GPL.
    Own parameters get plain gradients, where the released code weighs them by α too.
    """

    def weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """α of G Gᵀ over its trace."""
        return bargain(gramian.double())

    def scale(self, trace: float) -> float:
        """G Gᵀ = trace · M: its α is that of M over √trace."""
        return float(trace**-0.5)


def bargain(m: Tensor, ridge: float = 1e-8) -> Tensor:
    """M (T, T), positive semi-definite → α > 0 (T,) with M α = 1/α.

    ridge: added to the diagonal of the cosines; where the gradients cancel each other, no finite α solves without it.
    The objective is self-concordant: steps of Δ/(1 + λ), λ the Newton decrement, stay inside α > 0 and always converge.
    """
    norms = m.diagonal().sqrt()
    # cosines: the same α · norms solves
    m = m / norms / norms[:, None] + ridge * torch.eye(len(m), dtype=m.dtype)
    alpha = torch.ones(len(m), dtype=m.dtype)
    for _ in range(200):
        gradient = m @ alpha - 1 / alpha
        step = torch.linalg.solve(m + torch.diag(alpha**-2), gradient)
        decrement = float((gradient @ step).clamp(min=0).sqrt())
        alpha = alpha - step / (1 + decrement)
        if decrement < 1e-9:
            break
    return alpha / norms
