"""The work on a batch's samples, shared among threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

A = TypeVar("A", bound=NDArray[Any])
BLOCK = 2**18  # bytes, two images at 224 pixels: with less to do, a thread's start would take longer than it saves


def spread(
    change: Callable[[A, NDArray[np.float32]], A], samples: A, uniform: NDArray[np.float32], threads: int
) -> list[A]:
    """Return ``change(samples, uniform)`` in consecutive blocks.

    A sample is changed by its row of numbers alone, so that the values are the same, however many blocks there are.
    """
    blocks = min(threads, len(samples), max(1, samples.nbytes // BLOCK))
    if blocks == 1:
        return [change(samples, uniform)]
    ends = [len(samples) * i // blocks for i in range(blocks + 1)]
    cuts = [slice(*cut) for cut in pairwise(ends)]
    return list(_pool(threads).map(lambda cut: change(cast(A, samples[cut]), uniform[cut]), cuts))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "mola-augment")
