"""MGDA: the shortest convex combination of the gradients, a direction in which no loss rises.

Source: Sener and Koltun 2018, arXiv 1810.04650, Algorithm 2 (Frank-Wolfe); by TorchJD.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torchjd.aggregation import MGDAWeighting

from mola.balancers._jacobian import GramianWeighting
from mola.types import SearchSpace

SMALLEST = 1e-8  # a loss of 0 divides nothing


class MGDA(GramianWeighting):
    """α = argmin ‖Σ_t α_t g_t‖² over α ≥ 0, Σ_t α_t = 1; d = Σ_t α_t g_t.

    α is sought on g_t (none), on g_t over its norm (l2), its loss (loss) or both (loss+): the released code's four.
    Own parameters get plain gradients, where the released code weighs them by α too.
    At most 250 iterations, as in the released code; Frank-Wolfe comes slowly to an α inside the simplex.
    """

    class Options(GramianWeighting.Options):
        normalisation: Literal["none", "l2", "loss", "loss+"] = Field("none", description="of the gradients")

    options: Options
    size = "mean"
    search_space: ClassVar[SearchSpace] = {"normalisation": ("none", "l2", "loss", "loss+")}

    def weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """The min-norm point."""
        gramian = gramian.double()
        factor = torch.ones(len(gramian), dtype=gramian.dtype)
        if self.options.normalisation in ("l2", "loss+"):
            factor = factor / gramian.diagonal().sqrt()
        if self.options.normalisation in ("loss", "loss+"):
            factor = factor / torch.stack(list(losses.values())).detach().to(factor).clamp(min=SMALLEST)
        alpha: Tensor = MGDAWeighting(epsilon=1e-5, max_iters=250)(factor[:, None] * gramian * factor)
        return alpha
