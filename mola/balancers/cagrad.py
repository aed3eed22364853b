"""CAGrad: the direction near the mean gradient whose worst improvement over the tasks is best.

Source: Liu et al. 2021, Conflict-Averse Gradient Descent, arXiv 2110.14048, Algorithm 1; by TorchJD, with Clarabel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import ClassVar

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor
from torchjd.aggregation import CAGradWeighting

from mola.balancers._jacobian import GramianWeighting
from mola.types import BadInput, Range, SearchSpace, Task

CANCELLED = 1e-3  # of the length without cancellation: fp32 inner products know shorter ones to 3e-4


class CAGrad(GramianWeighting):
    """d = argmax min_t g_t·d over ‖d − g_0‖ ≤ c ‖g_0‖, g_0 the mean gradient: d = g_0 + c ‖g_0‖/‖g_w‖ g_w with g_w in
    the gradients' convex hull.

    c is the paper's 0.4 on NYUv2.
    Scale as in the paper; the released code divides by 1 + c² and multiplies by T. Needs ``mola-bench[solvers]``.
    d = 0 where the gradients cancel (‖g_w‖ < 1e-3 Σ_t w_t ‖g_t‖), as in TorchJD, which asks 1e-4 of ‖G‖ instead and so
    stands still where one task's gradient is small.
    """

    class Options(GramianWeighting.Options):
        c: NonNegativeFloat = Field(0.4, description="radius of the ball, over ‖g_0‖; 0: the mean gradient")

    size = "mean"
    search_space: ClassVar[SearchSpace] = {"c": Range(0.1, 0.9)}

    def __init__(self, tasks: Sequence[Task], device: torch.device | None, options: Options) -> None:
        super().__init__(tasks, device, options)
        missing = [package for package in ("cvxpy", "clarabel") if find_spec(package) is None]
        if missing:
            raise BadInput(
                f"balancer cagrad: expected the packages cvxpy and clarabel, found no {', '.join(missing)}; "
                "pip install 'mola-bench[solvers]'"
            )
        self.weighting = CAGradWeighting(c=options.c, norm_eps=1e-9)

    def weights(self, gramian: Tensor, losses: Mapping[str, Tensor]) -> Tensor:
        """At trace 1, where TorchJD's thresholds are relative."""
        gramian = gramian.double()
        alpha: Tensor = self.weighting(gramian)
        # up to a factor
        w = alpha - 1 / len(alpha)
        length = (w @ gramian @ w).clamp(min=0).sqrt()
        cancel = length < CANCELLED * (w.abs() @ gramian.diagonal().sqrt())
        return torch.zeros_like(alpha) if cancel else alpha
