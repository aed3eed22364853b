"""Which samples form the batches of an epoch. Depends on (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from mola.seeds import derive
from mola.types import BadInput, Sampling

Picks = dict[str, NDArray[np.int64]]  # task → positions in its split


def steps(sizes: Mapping[str, int], size: int, sampling: Sampling) -> int:
    """Return the number of batches of an epoch: as many whole ones as the samples of all tasks fill, at least one."""
    if sampling == "balanced" and size < len(sizes):
        raise BadInput(
            f"training.batch_size: expected at least one sample for each of {len(sizes)} tasks, found {size}"
        )
    return max(1, sum(sizes.values()) // size)


def picks(sizes: Mapping[str, int], size: int, seed: int, epoch: int, sampling: Sampling) -> Iterator[Picks]:
    """Yield the samples of each training batch, by task in the tasks' order.

    balanced:     every batch holds size/T samples of every task; what is left over goes round. A smaller task starts
                  again with a fresh shuffle, a larger one is not seen whole in one epoch.
    proportional: one shuffle of all samples, cut into batches of ``size``; a task may be absent from a batch. The
                  last samples, too few for a batch, wait for another epoch's shuffle: every step then averages over
                  as many samples, and BatchNorm never meets a batch of one.
    """
    number = steps(sizes, size, sampling)
    if sampling == "proportional":
        yield from _proportional(sizes, size, number, np.random.default_rng(derive(seed, "order", epoch)))
        return
    names = list(sizes)
    streams = {n: _stream(sizes[n], np.random.default_rng(derive(seed, "order", epoch, n))) for n in names}
    share, left = divmod(size, len(names))
    for step in range(number):
        extra = {names[(step * left + i) % len(names)] for i in range(left)}
        yield {name: np.fromiter(streams[name], np.int64, count=share + (name in extra)) for name in names}


def _stream(size: int, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(size).tolist()


def _proportional(sizes: Mapping[str, int], size: int, number: int, rng: np.random.Generator) -> Iterator[Picks]:
    ends = np.cumsum(list(sizes.values()))
    pool = rng.permutation(int(ends[-1]))
    for step in range(number):
        chosen = pool[step * size : (step + 1) * size]
        owner = np.searchsorted(ends, chosen, side="right")
        starts = ends - list(sizes.values())
        yield {n: chosen[owner == t] - starts[t] for t, n in enumerate(sizes) if (owner == t).any()}
