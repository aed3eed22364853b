"""Parameters that learn faster than the weights beside them, under one optimiser."""

from __future__ import annotations

from torch import Tensor


def faster(parameter: Tensor, rate: float) -> Tensor:
    """rate · p, whose gradient reaches p unscaled: any optimiser then moves it ``rate`` times as fast as a weight."""
    return parameter + (rate - 1) * parameter.detach()
