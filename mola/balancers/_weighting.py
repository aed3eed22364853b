"""Balancers that weigh losses: one scalar, one backward pass, so that they cost what the sum costs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import Parameter

from mola.balancers._base import Base, total_of


class LossWeighting(Base, ABC):
    """L = total(L_1 … L_T) of the tasks present, plus the method's auxiliary loss. The tasks' own parameters follow the
    weighted loss too, as published.
    """

    cost = "weighting"

    @abstractmethod
    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Losses () of the tasks present, by name → ()."""

    def backward(
        self,
        losses: Mapping[str, Tensor],
        aux_loss: Tensor | None,
        shared: list[Parameter],
        rest: list[Parameter],
        features: Tensor | None = None,
    ) -> None:
        """One backward pass. Where the benchmark has one task there is nothing to balance: plain training."""
        total = total_of(losses.values()) if len(self.names) == 1 else self.total(losses)
        torch.autograd.backward(total if aux_loss is None else total + aux_loss)
