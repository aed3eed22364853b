"""Sum of the losses: every task weighs 1.

Source: the paper's setting for all its models; a well-tuned sum is a strong baseline (Kurin et al. 2022, arXiv
2201.04122).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import Parameter


class Sum:
    """L = Σ_t L_t over the tasks present, plus the method's penalty."""

    def parameters(self) -> list[Parameter]:
        """None: nothing is learnt."""
        return []

    def backward(
        self, losses: Mapping[str, Tensor], penalty: Tensor | None, shared: list[Parameter], own: list[Parameter]
    ) -> None:
        """One backward pass; ``losses``: () each."""
        total = sum(losses.values()) if penalty is None else sum(losses.values(), penalty)
        assert isinstance(total, Tensor)
        torch.autograd.backward(total)

    def end_epoch(self) -> None:
        """Nothing to update."""

    def state_dict(self) -> dict[str, object]:
        """Stateless."""
        return {}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Stateless."""
