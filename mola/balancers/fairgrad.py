"""FairGrad: the step that is fair to the tasks in the sense of alpha-fair resource allocation.

Source: Ban and Ji 2024, Fair Resource Allocation in Multi-Task Learning, arXiv 2402.15638, Equation 4; by TorchJD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import PositiveFloat
from torch import Tensor
from torchjd.aggregation import FairGradWeighting

from mola.balancers._jacobian import GramianWeighting
from mola.types import Range, SearchSpace, Task


class FairGrad(GramianWeighting):
    """G Gᵀ w = w^(−1/alpha), solved by least squares as in the released code; d = Gᵀ w.

    alpha: 1: proportional fairness (Nash-MTL's direction), towards ∞: max-min fairness; the released default is 1.
    Solved for w over the w of orthogonal gradients of the same norms, since on w itself least squares stop early where
    norms differ by 1e4. At alpha 5 they do so still; to alpha 2 they were exact to 1e-6 at 1e6.
    Own parameters get plain gradients, where the released code weighs them by w too.
    """

    search_space: ClassVar[SearchSpace] = {"alpha": Range(0.3, 2.0, log=True)}

    def __init__(
        self, tasks: Sequence[Task] = (), device: torch.device | None = None, *, alpha: PositiveFloat = 1.0
    ) -> None:
        super().__init__(tasks, device)
        self.power = alpha
        self.weighting = FairGradWeighting(alpha)

    def weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """w of G Gᵀ over its trace: y with S⁻¹ G Gᵀ D y = y^(−1/alpha), where w = D y, and S = D^(−1/alpha)."""
        gramian = gramian.double()
        squared = gramian.diagonal()
        alone = squared ** (-self.power / (1 + self.power))  # D, w of orthogonal gradients
        y: Tensor = self.weighting(gramian * alone / squared[:, None] ** (1 / (1 + self.power)))
        return alone * y

    def scale(self, trace: float) -> float:
        """G Gᵀ = trace · M: its w is that of M times trace^(−alpha/(1 + alpha)), the published scale."""
        return float(trace ** (-self.power / (1 + self.power)))
