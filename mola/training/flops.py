"""Counting floating-point operations: a multiplication and an addition are two."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def flop_counter(more: Mapping[Any, Any] | None = None) -> FlopCounterMode:
    """A context that counts what runs in it: convolutions and matrix products. Products that are added in place count
    as others do; torch's own formulas leave them out.

    more: formulas of further operators, functions of the shapes of their arguments.
    """
    in_place = {torch.ops.aten.addmm_: _of_product, torch.ops.aten.baddbmm_: _of_product}
    return FlopCounterMode(display=False, custom_mapping={**in_place, **(more or {})})


def _of_product(y: torch.Size, a: torch.Size, b: torch.Size, *rest: object, **more: object) -> int:
    """a (…, n, k) times b (…, k, m), which is added to y (…, n, m)."""
    return 2 * prod(a) * b[-1]
