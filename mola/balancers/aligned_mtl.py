"""Aligned-MTL: principal components of the gradients brought to one size, so that the system is well conditioned.

Source: Senushkin et al. 2023, Independent Component Alignment for Multi-Task Learning (CVPR), Algorithm 1; by TorchJD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torchjd.aggregation import AlignedMTLWeighting

from mola.balancers._jacobian import GramianWeighting
from mola.types import SearchSpace, Task


class AlignedMTL(GramianWeighting):
    """α = √λ V Λ^(−½) Vᵀ 1, where V Λ Vᵀ = G Gᵀ without its null space; d = Gᵀ α.

    λ is the smallest eigenvalue (min, the paper's), the median, or the mean (rmse).
    A task orthogonal to the others whose gradient is shorter than √(T·2⁻²³) of the longest, some 7e-4 at T = 4, is in
    the null space of an fp32 G Gᵀ: it has no weight, and does not set the scale.
    T times TorchJD's, which averages over the tasks where the paper sums.
    """

    class Options(GramianWeighting.Options):
        scale: Literal["min", "median", "rmse"] = Field("min", description="which eigenvalue λ is; min: the paper's")

    size = "sum"
    search_space: ClassVar[SearchSpace] = {"scale": ("min", "median", "rmse")}

    def __init__(self, tasks: Sequence[Task], device: torch.device | None, options: Options) -> None:
        super().__init__(tasks, device, options)
        self.weighting = AlignedMTLWeighting(scale_mode=options.scale)

    def weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """In the gradients' precision: the rank is decided by it."""
        return len(gramian) * self.weighting(gramian)
