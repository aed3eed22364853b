"""UPGrad: every gradient is projected to where no loss rises, then they are averaged.

Source: Quinton and Rey 2024, Jacobian Descent for Multi-Objective Optimization, arXiv 2406.16232; by TorchJD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from scipy.optimize import nnls
from torch import Tensor
from torchjd.aggregation import UPGradWeighting
from torchjd.linalg import DualConeProjector, PSDMatrix

from mola.balancers._jacobian import GramianWeighting
from mola.types import Task


class UPGrad(GramianWeighting):
    """d = 1/T Σ_t π(g_t), π the projection onto the dual cone {x: g_s·x ≥ 0 for all s}.

    Differs from the original: projections by non-negative least squares, where TorchJD's default calls quadprog, which
    is under the GPL, on a regularised matrix.
    """

    size = "mean"

    def __init__(self, tasks: Sequence[Task], device: torch.device | None, options: GramianWeighting.Options) -> None:
        super().__init__(tasks, device, options)
        self.weighting = UPGradWeighting(projector=NonNegative())

    def weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """Σ_t of the projections' weights, over T."""
        alpha: Tensor = self.weighting(gramian.double())
        return alpha


class NonNegative(DualConeProjector):
    """min vᵀ M v over v ≥ u is min ‖S w + S u‖² over w = v − u ≥ 0, with M = S S."""

    def __call__(self, U: Tensor, G: PSDMatrix) -> Tensor:
        """U (…, T), M (T, T) → v (…, T)."""
        values, vectors = torch.linalg.eigh(G)
        root = vectors * values.clamp(min=0).sqrt() @ vectors.T
        projections = [torch.from_numpy(nnls(root.numpy(), -(root @ u).numpy())[0]) for u in U.flatten(0, -2)]
        return U + torch.stack(projections).view_as(U)
