"""FairGrad: the step that is fair to the tasks in the sense of alpha-fair resource allocation.

Source: Ban and Ji 2024, Fair Resource Allocation in Multi-Task Learning, arXiv 2402.15638, Equation 4; by TorchJD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor
from torchjd.aggregation import FairGradWeighting

from mola.balancers._jacobian import GramianWeighting
from mola.types import Range, SearchSpace, Task


class FairGrad(GramianWeighting):
    """G Gᵀ w = w^(−1/alpha), solved by least squares as in the released code; d = Gᵀ w.

    At alpha 1, the released default, the direction is Nash-MTL's.
    Solved for w over the w of orthogonal gradients of the same norms, since on w itself least squares stop early where
    norms differ by 1e4. At alpha 5 they do so still; to alpha 2 they were exact to 1e-6 at 1e6.
    Own parameters get plain gradients, where the released code weighs them by w too.
    """

    class Options(GramianWeighting.Options):
        alpha: PositiveFloat = Field(1.0, description="1: proportional fairness; towards ∞: max-min fairness")

    options: Options
    search_space: ClassVar[SearchSpace] = {"alpha": Range(0.3, 2.0, log=True)}

    def __init__(self, tasks: Sequence[Task], device: torch.device | None, options: Options) -> None:
        super().__init__(tasks, device, options)
        self.weighting = FairGradWeighting(options.alpha)

    def weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """w of G Gᵀ over its trace: y with S⁻¹ G Gᵀ D y = y^(−1/alpha), where w = D y, and S = D^(−1/alpha)."""
        gramian, power = gramian.double(), self.options.alpha
        squared = gramian.diagonal()
        apart = squared ** (-power / (1 + power))  # D, w of orthogonal gradients
        y: Tensor = self.weighting(gramian * apart / squared[:, None] ** (1 / (1 + power)))
        return apart * y

    def scale(self, trace: float) -> float:
        """G Gᵀ = trace · M: its w is that of M times trace^(−alpha/(1 + alpha)), the published scale."""
        return float(trace ** (-self.options.alpha / (1 + self.options.alpha)))
