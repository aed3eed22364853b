"""Hard sharing plus one low-rank adapter for all tasks: the control for MoLA's extra parameters.

Source: LoRA, Hu et al. 2022, arXiv 2106.09685, trained jointly with the backbone as in MoLA.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mola.methods._adapted import AdaptedMethod, Gates
from mola.types import Batch, Task


class SharedLoRA(AdaptedMethod):
    """MoLA with E = 1: y = (W + ΔW) x for every sample."""

    def experts_for(self, tasks: Sequence[Task], options: AdaptedMethod.Options) -> int:
        """One."""
        return 1

    def gates(self, batch: Batch) -> Gates:
        """Every sample has the one adapter."""
        return Gates(torch.zeros(len(batch.x), dtype=torch.int64))
