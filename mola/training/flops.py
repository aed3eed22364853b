"""Counting floating-point operations: a multiplication and an addition are two."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

# it defines the operator mola::gated_rows
from mola.layers.plans import fused as fused


def flop_counter(more: Mapping[Any, Any] | None = None) -> FlopCounterMode:
    """A context that counts what runs in it: convolutions and matrix products. Products that are added in place count
    as others do, which torch's own formulas leave out, and so do those of the plan "fused".

    more: formulas of further operators, functions of the shapes of their arguments.
    """
    aten = torch.ops.aten
    products = {aten.addmm_: _of_product, aten.baddbmm_: _of_product, torch.ops.mola.gated_rows: _of_gated_rows}
    return FlopCounterMode(display=False, custom_mapping={**products, **(more or {})})


def _of_product(y: torch.Size, a: torch.Size, b: torch.Size, *rest: object, **more: object) -> int:
    """a (…, n, k) times b (…, k, m), which is added to y (…, n, m)."""
    return 2 * prod(a) * b[-1]


def _of_gated_rows(
    x: torch.Size, weight: torch.Size, bias: object, down: torch.Size, *rest: object, **more: object
) -> int:
    """Of one call, forward or backward: x (B, L, C_in), weight (C_out, C_in), down (E·r, C_in)."""
    outputs, inputs = weight
    return 2 * prod(x[:-1]) * (inputs * outputs + down[0] * (inputs + outputs))
